// Runs kernels on the CPU: what `emulator.hpp` declares, and `circlet_emulator_launch` for Rust.
//
// A thread of the operating system is a worker. It runs one block at a time. CUDA threads run on fibers: stacks between
// which the worker switches where a CUDA thread has to wait. One that never waits runs straight through, and the next
// begins on the same fiber, so that kernels without barriers are loops.
//
// Built with EMULATE_THREADS, it tells ThreadSanitizer, which then watches kernels but not this file, that each CUDA
// thread is a thread, and that only barriers order them. Built with EMULATE_ADDRESSES, it tells AddressSanitizer of
// stacks and of shared memory.
#include "emulator.hpp"
#include "switch.hpp"
#include "watch.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <memory>
#include <mutex>
#include <numeric>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

__thread uint3 threadIdx, blockIdx, blockDim, gridDim;

namespace emulator {
namespace {

constexpr unsigned lanes_of_warp = 32;
constexpr unsigned most_threads = 1024;
constexpr std::size_t most_static_shared = 48 * 1024;

// SplitMix64.
class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed) {}

  std::uint64_t below(std::uint64_t bound) {
    state_ += 0x9e3779b97f4a7c15;
    std::uint64_t mixed = state_;
    mixed = (mixed ^ mixed >> 30) * 0xbf58476d1ce4e5b9;
    mixed = (mixed ^ mixed >> 27) * 0x94d049bb133111eb;
    return (mixed ^ mixed >> 31) % bound;
  }

  template <class Number>
  void shuffle(std::vector<Number>& numbers) {
    for (std::size_t count = numbers.size(); count > 1; count--) std::swap(numbers[count - 1], numbers[below(count)]);
  }

 private:
  std::uint64_t state_;
};

// The order in which blocks begin, the threads of a block begin, and those that wait go on.
enum class Schedule { ascending, descending, shuffled };

struct Launch {
  Entry entry;
  const void* const* arguments;
  uint3 blocks;
  unsigned threads;
  unsigned shared;
  // Bytes of shared memory that a block may have.
  unsigned most_shared;
  Schedule schedule;
  std::uint64_t seed;
};

// A stack for CUDA threads.
struct Fiber {
  Context context;
  char* stack = nullptr;
  // The CUDA thread that is on it.
  unsigned thread = 0;
};

constexpr std::size_t stack_bytes = 256 * 1024;
// At least a page below a stack, of which nothing may be touched.
constexpr std::size_t guard_bytes = 64 * 1024;

class Block;

// A thread of the operating system, and what it keeps from block to block.
class Worker {
 public:
  Worker() = default;
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  // Takes up a launch, on the thread of the operating system that will run its blocks.
  void begin(const Launch& launch);

  // Runs a block, and says what was wrong with it, if something was.
  std::string run(std::uint64_t number);

  // All blocks of the launch are done.
  void end() { watch::acquire(&end_); }

  // A fiber on which a CUDA thread can begin.
  Fiber* fiber_for(unsigned thread);

  // A CUDA thread has returned on it.
  void give_back(Fiber* fiber) {
    if (!watch::threads) idle_.push_back(fiber);
  }

  // Goes on with a fiber, or with the worker's own stack if it is null, until somebody comes back to what runs now.
  void go_on_with(Fiber* next);

  // Runs one CUDA thread after the other, on a fiber.
  [[noreturn]] void serve();

  Fiber* running() const { return running_; }
  Block& block() { return *block_; }
  char* shared_memory() const { return shared_memory_; }
  Random& random() { return random_; }

 private:
  Fiber* new_fiber();
  void make_ready(Fiber& fiber);
  void new_shared_memory();
  void give_up_fibers();

  const Launch* launch_ = nullptr;
  Block* block_ = nullptr;
  Context own_;
  // The fiber that runs, if the worker is on one, and what ran before it.
  Fiber* running_ = nullptr;
  Context* left_ = nullptr;
  std::vector<std::unique_ptr<Fiber>> fibers_;
  std::vector<Fiber*> idle_;
  char* shared_memory_ = nullptr;
  Random random_{0};
  // For ThreadSanitizer: whether the number of the block is odd, and what orders CUDA threads and all that is before
  // the launch or after it.
  unsigned parity_ = 0;
  std::uint64_t begin_ = 0, end_ = 0;
};

thread_local Worker* this_worker = nullptr;

// Some lanes of a warp that wait for each other.
struct Meeting {
  Call call;
  unsigned mask;
  unsigned arrived = 0;
  // Those that have met but not yet read the others' values.
  unsigned reading = 0;
  std::array<std::uint64_t, lanes_of_warp> values{};
  std::vector<Fiber*> waiting{};

  bool open() const { return arrived != mask; }
};

struct Warp {
  unsigned lanes;
  unsigned returned = 0;
  std::vector<std::unique_ptr<Meeting>> meetings{};
};

std::string text(const Place& place) { return std::string(place.file) + ":" + std::to_string(place.line); }
std::string text(const Call& call) { return std::string(call.operation) + " at " + text(call.place); }
std::string hexadecimal(unsigned bits) {
  char digits[11];
  std::snprintf(digits, sizeof digits, "0x%08x", bits);
  return digits;
}

bool same(const Call& a, const Call& b) {
  return a.place.line == b.place.line && std::string_view(a.place.file) == b.place.file &&
         std::string_view(a.operation) == b.operation;
}

// A block while it runs. All of it is new for each block, so that for ThreadSanitizer nothing orders one block and
// another.
class Block {
 public:
  Block(Worker& worker, const Launch& launch);

  void run();
  const std::string& failure() const { return failure_; }

  // Records that a CUDA thread has returned, and says which fiber goes on.
  Fiber* finish(Fiber* fiber);

  // Abandons the block, on a fiber.
  [[noreturn]] void fail(std::string why);

  unsigned barrier(const Call& call, bool vote);

  // Waits for the lanes of a mask, and orders what they have done to memory if it should. Who has met others says so
  // with `leave`, when it has read their values.
  Meeting& meet(const Call& call, unsigned mask, std::uint64_t value, bool ordered = false);
  void leave(Meeting& meeting) { meeting.reading &= ~(1u << lane()); }

  unsigned lane() const { return worker_.running()->thread % lanes_of_warp; }

  void* shared_array(const void* identity, std::size_t bytes, std::size_t alignment, const Place& place);
  void* dynamic_shared(const Place& place);

 private:
  // The fiber that goes on next, if there is one.
  Fiber* next();
  // Lets others run until somebody has put what runs now among those who are ready.
  void wait() { worker_.go_on_with(next()); }
  Meeting& join(Warp& warp, const Call& call, unsigned mask, unsigned lane);
  std::string deadlock() const;

  Worker& worker_;
  const Launch& launch_;
  std::string failure_;

  // CUDA threads in the order in which they begin, and how many have begun and returned.
  std::vector<unsigned> order_;
  unsigned begun_ = 0;
  unsigned returned_ = 0;
  // Those that have waited and can go on.
  std::deque<Fiber*> ready_;

  // The barrier: who waits, in which, and the votes of the one before.
  std::vector<Fiber*> waiting_;
  Call barrier_{};
  unsigned votes_ = 0;
  unsigned result_ = 0;
  unsigned barriers_ = 0;
  // What orders those who pass a barrier. The next barrier has another, which the last who leave do not see.
  std::array<std::uint64_t, 2> tags_{};

  std::vector<Warp> warps_;

  struct Array {
    const void* identity;
    char* address;
  };
  std::vector<Array> arrays_;
  std::size_t arrays_bytes_ = 0;
  char* arrays_end_;
  bool dynamic_is_filled_ = false;
};

// Where shared arrays are in the memory of a worker: behind dynamic shared memory, of which there is so much at most.
constexpr std::size_t most_dynamic_shared = 227 * 1024;
constexpr std::size_t arrays_at = most_dynamic_shared + watch::gap;
// With gaps between them.
constexpr std::size_t shared_memory_bytes = (arrays_at + 2 * most_static_shared + 255) / 256 * 256;
constexpr int unwritten = 0xa5;

void serve_fiber() { this_worker->serve(); }

void Worker::make_ready(Fiber& fiber) {
  fiber.context.fake_stack = nullptr;
  fiber.context.bottom = fiber.stack;
  fiber.context.size = stack_bytes;
  watch::allow(fiber.stack, stack_bytes);
  // What `circlet_emulator_switch` takes from a stack: registers, all zero, and where it goes on.
#if defined(__x86_64__)
  // Above them a word of zeros in place of the address to return to, at the place where a call would put it.
  constexpr std::size_t saved_words = 8, entry_word = 6;
#elif defined(__aarch64__)
  constexpr std::size_t saved_words = 20, entry_word = 11;
#endif
  auto* const saved = reinterpret_cast<std::uintptr_t*>(fiber.stack + stack_bytes) - saved_words;
  std::fill_n(saved, saved_words, 0);
  saved[entry_word] = reinterpret_cast<std::uintptr_t>(&serve_fiber);
  fiber.context.stack_pointer = saved;
}

Fiber* Worker::new_fiber() {
  constexpr int access = PROT_READ | PROT_WRITE, flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
  void* const mapped = mmap(nullptr, guard_bytes + stack_bytes, access, flags, -1, 0);
  if (mapped == MAP_FAILED || mprotect(mapped, guard_bytes, PROT_NONE) != 0) {
    std::perror("emulator: no memory for a stack");
    std::abort();
  }
  fibers_.push_back(std::make_unique<Fiber>());
  Fiber* const fiber = fibers_.back().get();
  fiber->stack = static_cast<char*>(mapped) + guard_bytes;
  fiber->context.watched = watch::new_thread();
  make_ready(*fiber);
  return fiber;
}

// For ThreadSanitizer, CUDA threads of one number in neighbouring blocks are two threads. They have fibers of their
// own, made by the worker before the launch: a thread is after all that its maker did before.
Fiber* Worker::fiber_for(unsigned thread) {
  Fiber* fiber;
  if (watch::threads) {
    fiber = fibers_[2 * thread + parity_].get();
  } else if (idle_.empty()) {
    fiber = new_fiber();
  } else {
    fiber = idle_.back();
    idle_.pop_back();
  }
  fiber->thread = thread;
  return fiber;
}

// Not inlined into `serve`: a fiber may go on, in another launch, on another thread of the operating system, and what
// is local to threads must not be where it was.
__attribute__((noinline)) void Worker::go_on_with(Fiber* next) {
  Fiber* const self = running_;
  running_ = next;
  if (next != nullptr) threadIdx = {next->thread, 0, 0};
  if (next == self) return;
  Context& here = self != nullptr ? self->context : own_;
  Context& there = next != nullptr ? next->context : own_;
  left_ = &here;
  watch::become(there.watched);
  watch::leave(here, there);
  circlet_emulator_switch(&here.stack_pointer, there.stack_pointer);
  watch::arrive(here, *left_);
}

void Worker::serve() {
  watch::arrive(running_->context, *left_);
  for (;;) {
    watch::acquire(&begin_);
    launch_->entry.run(launch_->arguments);
    watch::release(&end_);
    go_on_with(block_->finish(running_));
  }
}

void Worker::begin(const Launch& launch) {
  this_worker = this;
  launch_ = &launch;
  random_ = Random(launch.seed);
  own_.watched = watch::this_thread();
  blockDim = {launch.threads, 1, 1};
  gridDim = launch.blocks;
  if (shared_memory_ == nullptr) new_shared_memory();
  if (watch::threads) {
    while (fibers_.size() < 2 * launch.threads) new_fiber();
  }
}

void Worker::new_shared_memory() {
  std::free(shared_memory_);
  shared_memory_ = static_cast<char*>(std::aligned_alloc(256, shared_memory_bytes));
  if (shared_memory_ == nullptr) {
    std::perror("emulator: no shared memory");
    std::abort();
  }
}

std::string Worker::run(std::uint64_t number) {
  const std::uint64_t row = number / launch_->blocks.x;
  blockIdx = {static_cast<unsigned>(number % launch_->blocks.x), static_cast<unsigned>(row % launch_->blocks.y),
              static_cast<unsigned>(row / launch_->blocks.y)};
  // Other blocks have used it, which is no race.
  if (watch::threads) new_shared_memory();
  watch::forbid(shared_memory_, shared_memory_bytes);
  parity_ ^= 1;
  const auto block = std::make_unique<Block>(*this, *launch_);
  block_ = block.get();
  watch::release(&begin_);
  block->run();
  if (block->failure().empty()) return {};
  give_up_fibers();
  return "block " + std::to_string(number) + ": " + block->failure();
}

// Some fibers are in the middle of a block that was abandoned.
void Worker::give_up_fibers() {
  idle_.clear();
  for (auto& fiber : fibers_) {
    if (watch::threads) {
      // What it has done is before all that is after the launch. It is not used again: nobody can take back what
      // ThreadSanitizer knows of it.
      watch::become(fiber->context.watched);
      watch::release(&end_);
      watch::become(own_.watched);
      static_cast<void>(fiber.release());
    } else {
      make_ready(*fiber);
      idle_.push_back(fiber.get());
    }
  }
  if (watch::threads) fibers_.clear();
}

Block::Block(Worker& worker, const Launch& launch)
    : worker_(worker), launch_(launch), order_(launch.threads), arrays_end_(worker.shared_memory() + arrays_at) {
  std::iota(order_.begin(), order_.end(), 0u);
  if (launch.schedule == Schedule::descending) std::reverse(order_.begin(), order_.end());
  if (launch.schedule == Schedule::shuffled) worker.random().shuffle(order_);
  for (unsigned first = 0; first < launch.threads; first += lanes_of_warp) {
    const unsigned count = std::min(launch.threads - first, lanes_of_warp);
    warps_.push_back({~0u >> (lanes_of_warp - count)});
  }
}

void Block::run() {
  worker_.go_on_with(next());
  if (failure_.empty() && returned_ != launch_.threads) failure_ = deadlock();
}

Fiber* Block::next() {
  const std::size_t choices = ready_.size() + launch_.threads - begun_;
  if (choices == 0) return nullptr;
  // Those that are ready come before those that have not begun.
  const std::size_t choice = launch_.schedule == Schedule::shuffled ? worker_.random().below(choices) : 0;
  if (choice >= ready_.size()) return worker_.fiber_for(order_[begun_++]);
  std::swap(ready_[0], ready_[choice]);
  Fiber* const fiber = ready_.front();
  ready_.pop_front();
  return fiber;
}

Fiber* Block::finish(Fiber* fiber) {
  const watch::Unheard unheard;
  const unsigned bit = 1u << fiber->thread % lanes_of_warp;
  Warp& warp = warps_[fiber->thread / lanes_of_warp];
  warp.returned |= bit;
  returned_++;
  worker_.give_back(fiber);
  const Call* missed = waiting_.empty() ? nullptr : &barrier_;
  for (const auto& meeting : warp.meetings) {
    if (meeting->open() && (meeting->mask & bit) != 0) missed = &meeting->call;
  }
  if (missed == nullptr) return next();
  failure_ = "thread " + std::to_string(fiber->thread) + " returned while others wait for it in " + text(*missed);
  return nullptr;
}

void Block::fail(std::string why) {
  failure_ = std::move(why);
  worker_.go_on_with(nullptr);
  std::abort();
}

std::string Block::deadlock() const {
  std::string message = "threads wait for each other: ";
  if (!waiting_.empty()) {
    message += std::to_string(waiting_.size()) + " of " + std::to_string(launch_.threads) + " in " + text(barrier_);
    message += "; ";
  }
  for (std::size_t number = 0; number < warps_.size(); number++) {
    for (const auto& meeting : warps_[number].meetings) {
      if (!meeting->open()) continue;
      message += "lanes " + hexadecimal(meeting->arrived) + " of warp " + std::to_string(number) + ", for lanes " +
                 hexadecimal(meeting->mask) + ", in " + text(meeting->call) + "; ";
    }
  }
  message.resize(message.size() - 2);
  return message;
}

unsigned Block::barrier(const Call& call, bool vote) {
  if (returned_ != 0) {
    fail(std::to_string(returned_) + " of " + std::to_string(launch_.threads) + " threads have returned before " +
         text(call));
  }
  if (waiting_.empty()) {
    barrier_ = call;
    votes_ = 0;
  } else if (!same(barrier_, call)) {
    fail("threads meet in two barriers: " + text(barrier_) + ", and " + text(call));
  }
  if (vote) votes_++;
  std::uint64_t* const tag = &tags_[barriers_ % 2];
  watch::release(tag);
  waiting_.push_back(worker_.running());
  if (waiting_.size() == launch_.threads) {
    result_ = votes_;
    barriers_++;
    ready_.insert(ready_.end(), waiting_.begin(), waiting_.end());
    waiting_.clear();
  }
  wait();
  watch::acquire(tag);
  // Nobody passes the next barrier, which changes it, before all have come from here.
  return result_;
}

Meeting& Block::join(Warp& warp, const Call& call, unsigned mask, unsigned lane) {
  Meeting* unused = nullptr;
  for (const auto& meeting : warp.meetings) {
    if (meeting->mask != mask) continue;
    if (meeting->open() && (meeting->arrived >> lane & 1) == 0) {
      if (!same(meeting->call, call)) {
        fail("lanes of a warp meet in two places: " + text(meeting->call) + ", and " + text(call));
      }
      return *meeting;
    }
    if (!meeting->open() && meeting->reading == 0) unused = meeting.get();
  }
  if (unused == nullptr) {
    warp.meetings.push_back(std::make_unique<Meeting>(Meeting{call, mask}));
    return *warp.meetings.back();
  }
  unused->call = call;
  unused->arrived = 0;
  return *unused;
}

Meeting& Block::meet(const Call& call, unsigned mask, std::uint64_t value, bool ordered) {
  Fiber* const self = worker_.running();
  const unsigned own = lane();
  Warp& warp = warps_[self->thread / lanes_of_warp];
  // Lanes that the last warp does not have are not waited for.
  mask &= warp.lanes;
  if ((mask >> own & 1) == 0) {
    fail("lane " + std::to_string(own) + " is not in the mask " + hexadecimal(mask) + " of its own " + text(call));
  }
  if ((mask & warp.returned) != 0) {
    fail("the mask " + hexadecimal(mask) + " names the lanes " + hexadecimal(mask & warp.returned) +
         ", which have returned, in " + text(call));
  }
  Meeting& meeting = join(warp, call, mask, own);
  meeting.values[own] = value;
  meeting.arrived |= 1u << own;
  meeting.waiting.push_back(self);
  if (!meeting.open()) {
    meeting.reading = mask;
    ready_.insert(ready_.end(), meeting.waiting.begin(), meeting.waiting.end());
    meeting.waiting.clear();
  }
  // A meeting that is used again also has the order of its last use. That was between the same lanes, before this one.
  if (ordered) watch::release(&meeting);
  wait();
  if (ordered) watch::acquire(&meeting);
  return meeting;
}

void* Block::shared_array(const void* identity, std::size_t bytes, std::size_t alignment, const Place& place) {
  for (const Array& array : arrays_) {
    if (array.identity == identity) return array.address;
  }
  const auto round_up = [alignment](std::uintptr_t number) {
    return (number + alignment - 1) / alignment * alignment;
  };
  arrays_bytes_ = round_up(arrays_bytes_) + bytes;
  auto* const address = reinterpret_cast<char*>(round_up(reinterpret_cast<std::uintptr_t>(arrays_end_)));
  arrays_end_ = address + bytes + watch::gap;
  if (arrays_bytes_ > most_static_shared || arrays_end_ > worker_.shared_memory() + shared_memory_bytes) {
    fail("shared arrays have more than " + std::to_string(most_static_shared) + " bytes at " + text(place));
  }
  if (arrays_bytes_ + launch_.shared > launch_.most_shared) {
    fail("shared arrays and " + std::to_string(launch_.shared) + " bytes of dynamic shared memory are more than " +
         std::to_string(launch_.most_shared) + " bytes at " + text(place));
  }
  watch::allow(address, bytes);
  std::memset(address, unwritten, bytes);
  arrays_.push_back({identity, address});
  return address;
}

void* Block::dynamic_shared(const Place& place) {
  if (launch_.shared == 0) fail("the launch asks for no dynamic shared memory, which is used at " + text(place));
  if (!dynamic_is_filled_) {
    watch::allow(worker_.shared_memory(), launch_.shared);
    std::memset(worker_.shared_memory(), unwritten, launch_.shared);
    dynamic_is_filled_ = true;
  }
  return worker_.shared_memory();
}

// All kernels, by name.
class Registry {
 public:
  void add(std::string_view name, const Entry& entry) { kernels_.push_back({name, entry}); }

  // The kernel of a name, or null.
  const Entry* find(std::string_view name) const {
    for (const auto& kernel : kernels_) {
      if (kernel.name == name) return &kernel.entry;
    }
    return nullptr;
  }

 private:
  struct Kernel {
    std::string_view name;
    Entry entry;
  };
  std::vector<Kernel> kernels_;
};

// It exists as soon as the first file adds its kernels.
Registry& registry() {
  static Registry registry;
  return registry;
}

// Workers between launches, with their stacks. They outlive whatever ends the program.
class Workers {
 public:
  std::unique_ptr<Worker> take() {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (idle_.empty()) return std::make_unique<Worker>();
    std::unique_ptr<Worker> worker = std::move(idle_.back());
    idle_.pop_back();
    return worker;
  }

  void give_back(std::unique_ptr<Worker> worker) {
    const std::lock_guard<std::mutex> lock(mutex_);
    idle_.push_back(std::move(worker));
  }

 private:
  std::mutex mutex_;
  std::vector<std::unique_ptr<Worker>> idle_;
};

Workers& workers() {
  static auto& workers = *new Workers;
  return workers;
}

// Runs all blocks on so many threads of the operating system, and says what was wrong, if something was.
std::string run(const Launch& launch, unsigned os_threads) {
  const std::uint64_t count = std::uint64_t{launch.blocks.x} * launch.blocks.y * launch.blocks.z;
  std::vector<std::uint64_t> shuffled;
  if (launch.schedule == Schedule::shuffled) {
    shuffled.resize(count);
    std::iota(shuffled.begin(), shuffled.end(), std::uint64_t{0});
    Random(~launch.seed).shuffle(shuffled);
  }
  const auto number = [&](std::uint64_t turn) {
    switch (launch.schedule) {
      case Schedule::ascending:
        return turn;
      case Schedule::descending:
        return count - 1 - turn;
      default:
        return shuffled[turn];
    }
  };

  std::atomic<std::uint64_t> turns{0};
  std::mutex mutex;
  std::string failure;
  const auto work = [&] {
    const watch::Unheard unheard;
    std::unique_ptr<Worker> worker = workers().take();
    worker->begin(launch);
    for (std::uint64_t turn; (turn = turns.fetch_add(1, std::memory_order_relaxed)) < count;) {
      std::string wrong = worker->run(number(turn));
      if (wrong.empty()) continue;
      // Nobody begins another block.
      turns = count;
      const std::lock_guard<std::mutex> lock(mutex);
      if (failure.empty()) failure = std::move(wrong);
    }
    worker->end();
    workers().give_back(std::move(worker));
  };
  std::vector<std::thread> others;
  const std::uint64_t all = std::min<std::uint64_t>(os_threads, count);
  for (std::uint64_t other = 1; other < all; other++) others.emplace_back(work);
  work();
  for (auto& other : others) other.join();
  return failure;
}

}  // namespace

void add_kernels(const char* names, const Entry* entries, std::size_t count) {
  std::string_view rest = names;
  for (std::size_t index = 0; index < count; index++) {
    rest.remove_prefix(std::min(rest.find_first_not_of(", "), rest.size()));
    const std::string_view name = rest.substr(0, rest.find_first_of(", "));
    registry().add(name, entries[index]);
    rest.remove_prefix(name.size());
  }
}

unsigned barrier(Call call, bool vote) {
  const watch::Unheard unheard;
  return this_worker->block().barrier(call, vote);
}

void warp_barrier(Call call, unsigned mask) {
  const watch::Unheard unheard;
  Block& block = this_worker->block();
  block.leave(block.meet(call, mask, 0, true));
}

unsigned ballot(Call call, unsigned mask, bool vote) {
  const watch::Unheard unheard;
  Block& block = this_worker->block();
  Meeting& meeting = block.meet(call, mask, vote ? 1 : 0);
  unsigned voters = 0;
  for (unsigned lane = 0; lane < lanes_of_warp; lane++) {
    if ((meeting.mask >> lane & 1) != 0 && meeting.values[lane] != 0) voters |= 1u << lane;
  }
  block.leave(meeting);
  return voters;
}

std::uint64_t shuffle(Call call, unsigned mask, Shuffle kind, std::uint64_t value, unsigned operand, int width) {
  const watch::Unheard unheard;
  Block& block = this_worker->block();
  if (width < 1 || width > warpSize || (width & (width - 1)) != 0) {
    block.fail("lanes cannot be in groups of " + std::to_string(width) + " in " + text(call));
  }
  Meeting& meeting = block.meet(call, mask, value);
  // As PTX defines `shfl`: a distance has five bits, and the group's last lane is the last that a lane can see.
  const unsigned lane = block.lane(), within = static_cast<unsigned>(width) - 1;
  const unsigned first = lane & ~within, last = lane | within, distance = operand & 31;
  unsigned from = lane;
  switch (kind) {
    case Shuffle::index:
      from = first | (operand & within);
      break;
    case Shuffle::up:
      if (lane >= first + distance) from = lane - distance;
      break;
    case Shuffle::down:
      if (lane + distance <= last) from = lane + distance;
      break;
    case Shuffle::exclusive_or:
      if ((lane ^ distance) <= last) from = lane ^ distance;
      break;
  }
  // Of lanes that the mask does not name a GPU gives anything.
  constexpr std::uint64_t anything = 0xa5a5a5a5a5a5a5a5;
  const std::uint64_t found = (meeting.mask >> from & 1) != 0 ? meeting.values[from] : anything;
  block.leave(meeting);
  return found;
}

void* shared_array(const void* identity, std::size_t bytes, std::size_t alignment, Place place) {
  const watch::Unheard unheard;
  return this_worker->block().shared_array(identity, bytes, alignment, place);
}

void* dynamic_shared(Place place) {
  const watch::Unheard unheard;
  return this_worker->block().dynamic_shared(place);
}

void fence() {
  std::atomic_thread_fence(std::memory_order_seq_cst);
  // ThreadSanitizer knows no fences: to it, each is after all that were before.
  static std::uint64_t tag = 0;
  watch::acquire(&tag);
  watch::release(&tag);
}

void trap(Place place) {
  const watch::Unheard unheard;
  Block& block = this_worker->block();
  const unsigned thread = this_worker->running()->thread;
  block.fail("thread " + std::to_string(thread) + " has trapped at " + text(place));
}

}  // namespace emulator

// What Rust asks for; `emulated.rs` has the same.
struct CircletLaunch {
  const char* name;
  std::size_t name_bytes;
  const void* const* arguments;
  const std::uint32_t* argument_bytes;
  const bool* argument_is_address;
  std::size_t argument_count;
  std::uint32_t blocks[3];
  std::uint32_t threads;
  std::uint32_t shared;
  std::uint32_t most_shared;
  std::uint32_t schedule;
  std::uint32_t os_threads;
  std::uint64_t seed;
};

// Runs a kernel. If something is wrong, it says so in a message that ends with a zero, and gives false.
extern "C" bool circlet_emulator_launch(const CircletLaunch* asked, char* message, std::size_t message_bytes) noexcept {
  using namespace emulator;
  const auto refuse = [&](const std::string& why) {
    std::snprintf(message, message_bytes, "%s", why.c_str());
    return false;
  };

  const Entry* const entry = registry().find({asked->name, asked->name_bytes});
  if (entry == nullptr) return refuse("there is no such kernel");
  if (entry->count != asked->argument_count) {
    return refuse("it takes " + std::to_string(entry->count) + " arguments and is given " +
                  std::to_string(asked->argument_count));
  }
  for (std::size_t index = 0; index < entry->count; index++) {
    const Parameter& parameter = entry->parameters[index];
    if (parameter.bytes != asked->argument_bytes[index] || parameter.address != asked->argument_is_address[index]) {
      const auto kind = [](bool address, std::size_t bytes) {
        return (address ? "an address of " : "a value of ") + std::to_string(bytes) + " bytes";
      };
      return refuse("argument " + std::to_string(index) + " is " + kind(parameter.address, parameter.bytes) +
                    " and is given as " + kind(asked->argument_is_address[index], asked->argument_bytes[index]));
    }
  }
  const auto [x, y, z] = asked->blocks;
  if (x == 0 || y == 0 || z == 0 || x > 0x7fffffff || y > 0xffff || z > 0xffff) {
    return refuse("there is no grid of " + std::to_string(x) + " x " + std::to_string(y) + " x " + std::to_string(z) +
                  " blocks");
  }
  if (asked->threads == 0 || asked->threads > most_threads) {
    return refuse("there is no block of " + std::to_string(asked->threads) + " threads");
  }
  if (asked->shared > asked->most_shared || asked->shared > most_dynamic_shared) {
    return refuse("a block has no " + std::to_string(asked->shared) + " bytes of shared memory");
  }

  const auto schedule = static_cast<Schedule>(asked->schedule);
  const Launch launch = {*entry,        asked->arguments,   {x, y, z}, asked->threads,
                         asked->shared, asked->most_shared, schedule,  asked->seed};
  const std::string failure = run(launch, asked->os_threads);
  return failure.empty() || refuse(failure);
}
