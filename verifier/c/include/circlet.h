// Verifies circlet proofs of neural-network inference.
//
// Made from verifier/c/src by `UPDATE_HEADER=1 cargo test -p circlet-c`; do not edit.
//
// * Nothing that this library allocates is freed by the caller but with circlet_key_free and circlet_proven_free, and
//   nothing of the caller's is kept after a call.
// * A pointer to an array of length zero may be null. Other null pointers, and lengths beyond PTRDIFF_MAX, end in
//   CIRCLET_MISUSE, or in zero where a number is returned.
// * Texts are UTF-8. They are copied as far as there is room, at whole characters, and end in a zero byte if there is
//   any room at all. A null pointer means that the text is not wanted.
// * Handles do not change: threads may share them. Whoever frees one makes sure that nobody uses it.
// * That a proof is accepted shows something only if the weights under the key keep the bounds that it declares. Either
//   you rely on whoever made the key, or circlet_key_register accepts a registration of it.

#ifndef CIRCLET_H
#define CIRCLET_H

#include <stddef.h>
#include <stdint.h>

// What a call has ended in. Only zero is success.
typedef enum circlet_result {
  // The proof is accepted, or what was asked for is done.
  CIRCLET_OK = 0,
  // The proof, or the registration, is wrong.
  CIRCLET_REJECTED = 1,
  // The key's file cannot be used.
  CIRCLET_BAD_KEY = 2,
  // The proof's or registration's file cannot be used.
  CIRCLET_BAD_FILE = 3,
  // The callback has failed.
  CIRCLET_UNREAD = 4,
  // A pointer is null or a length is too large.
  CIRCLET_MISUSE = 5,
  // A fault of this library, which should be reported. Nothing was verified.
  CIRCLET_FAULT = 6,
} circlet_result;

// What an accepted proof is of.
typedef enum circlet_kind {
  // Nothing: the handle is null.
  CIRCLET_NOTHING = 0,
  // A program maps CIRCLET_INPUTS to CIRCLET_OUTPUTS, with CIRCLET_LISTS of indices.
  CIRCLET_PROGRAM = 1,
  // A language model continues the tokens in CIRCLET_GIVEN with those in CIRCLET_GENERATED.
  CIRCLET_TEXT = 2,
  // A language model says its part of a conversation: for each turn, a list in CIRCLET_GIVEN and one in
  // CIRCLET_GENERATED.
  CIRCLET_CHAT = 3,
  // An encoder gives the vector in CIRCLET_OUTPUTS for the tokens in CIRCLET_GIVEN.
  CIRCLET_ENCODING = 4,
} circlet_kind;

// A part of a statement: lists of integers. The parts that a statement does not have are without lists, and so is a
// number that is none of these.
typedef enum circlet_part {
  // The inputs of a program, one list for each tensor, row by row.
  CIRCLET_INPUTS = 0,
  // The outputs of a program, likewise, or the vector of an encoder.
  CIRCLET_OUTPUTS = 1,
  // The lists of indices of a program.
  CIRCLET_LISTS = 2,
  // Tokens that are given.
  CIRCLET_GIVEN = 3,
  // Tokens that are proven.
  CIRCLET_GENERATED = 4,
} circlet_part;

// A verifying key.
typedef struct circlet_key circlet_key;

// The statement of a proof that was accepted.
typedef struct circlet_proven circlet_proven;

// Gives the next bytes of a file: at least one and at most `len` of them are written to `out`, and their number is
// returned; zero at the end of the file, a negative number for a failure. `len` is not zero and at most 16384. No
// exception may leave it, nor may it jump elsewhere.
typedef int (*circlet_read)(void *ctx, uint8_t *out, size_t len);

// What a key says about an input or output of a program.
typedef struct circlet_tensor {
  // Number of rows.
  uint32_t rows;
  // Number of columns.
  uint32_t cols;
  // An integer `q` stands for the real number `q * 2^-fraction_bits`.
  int32_t fraction_bits;
} circlet_tensor;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

// The version of this library.
const char *circlet_version(void);

// The version of the files that it reads.
uint16_t circlet_file_version(void);

// Judges the bytes of a proof's file under those of a key's file. `reason` gets why it is not accepted.
//
// # Safety
//
// The pointers point to as many bytes as the lengths say.
enum circlet_result circlet_verify(const uint8_t *key,
                                   size_t key_len,
                                   const uint8_t *proof,
                                   size_t proof_len,
                                   char *reason,
                                   size_t reason_len);

// Reads the bytes of a key's file. `*key` gets a handle, to be freed with circlet_key_free, or null.
//
// # Safety
//
// `bytes` points to `len` bytes, `reason` to `reason_len`, `key` to a pointer.
enum circlet_result circlet_key_new(const uint8_t *bytes,
                                    size_t len,
                                    struct circlet_key **key,
                                    char *reason,
                                    size_t reason_len);

// Frees a key; null is none.
//
// # Safety
//
// `key` comes from circlet_key_new and is not used again.
void circlet_key_free(struct circlet_key *key);

// Writes the digest that names the model, its commitment and its parameters.
//
// # Safety
//
// `key` is a handle, `digest` points to 32 bytes.
enum circlet_result circlet_key_digest(const struct circlet_key *key, uint8_t *digest);

// Copies the name of the model, which whoever made the key chose: it may hold any characters. Returns how many bytes it
// has, without the zero at the end.
//
// # Safety
//
// `key` is a handle, `name` points to `len` bytes.
size_t circlet_key_model(const struct circlet_key *key,
                         char *name,
                         size_t len);

// Judges the bytes of a registration's file: CIRCLET_OK if it proves that the weights under the key keep the bounds that
// the key declares. Once for each key is enough.
//
// # Safety
//
// `key` is a handle, `bytes` points to `len` bytes, `reason` to `reason_len`.
enum circlet_result circlet_key_register(const struct circlet_key *key,
                                         const uint8_t *bytes,
                                         size_t len,
                                         char *reason,
                                         size_t reason_len);

// Judges the bytes of a proof's file. `*proven` gets a handle of what was proven, to be freed with circlet_proven_free,
// or null if the proof is not accepted; `proven` may be null if only the verdict matters.
//
// # Safety
//
// `key` is a handle, `bytes` points to `len` bytes, `proven` to a pointer if it is not null, `reason` to `reason_len`
// bytes.
enum circlet_result circlet_key_verify(const struct circlet_key *key,
                                       const uint8_t *bytes,
                                       size_t len,
                                       struct circlet_proven **proven,
                                       char *reason,
                                       size_t reason_len);

// Judges a proof's file that comes in pieces, of which none is kept: what a callback gives until it says that the file
// has ended. `ctx` is what the callback gets. Nothing is read after a failure of the callback, after a beginning that
// no proof under the key has, or beyond the length that any proof has.
//
// # Safety
//
// As for circlet_key_verify; `read` does what circlet_read says.
enum circlet_result circlet_key_verify_stream(const struct circlet_key *key,
                                              circlet_read read,
                                              void *ctx,
                                              struct circlet_proven **proven,
                                              char *reason,
                                              size_t reason_len);

// Frees what was proven; null is nothing.
//
// # Safety
//
// `proven` comes from a function of this library and is not used again.
void circlet_proven_free(struct circlet_proven *proven);

// What the proof is of.
//
// # Safety
//
// `proven` is a handle or null.
enum circlet_kind circlet_proven_kind(const struct circlet_proven *proven);

// How many lists a part of the statement has.
//
// # Safety
//
// `proven` is a handle or null.
size_t circlet_proven_lists(const struct circlet_proven *proven, int part);

// Copies a list of a part of the statement, as far as there is room. Returns how many integers it has: with a `len` of
// zero, how much room is needed.
//
// # Safety
//
// `proven` is a handle or null, `values` points to `len` integers.
size_t circlet_proven_values(const struct circlet_proven *proven,
                             int part,
                             size_t index,
                             int64_t *values,
                             size_t len);

// Writes what the key says about an input or output of a program; CIRCLET_MISUSE if there is no such one.
//
// # Safety
//
// `proven` is a handle, `tensor` points to a circlet_tensor.
enum circlet_result circlet_proven_tensor(const struct circlet_proven *proven,
                                          int part,
                                          size_t index,
                                          struct circlet_tensor *tensor);

// Copies the name that the key gives to an input or output of a program, and returns how many bytes it has; as
// circlet_key_model.
//
// # Safety
//
// `proven` is a handle or null, `name` points to `len` bytes.
size_t circlet_proven_name(const struct circlet_proven *proven,
                           int part,
                           size_t index,
                           char *name,
                           size_t len);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* CIRCLET_H */
