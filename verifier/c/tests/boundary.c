// What a caller in C can do right and wrong: boundary FOLDER, with the files of scripts/proof-fixtures.
//
// Compiled as C and as C++.

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "circlet.h"

#define CHECK(holds)                                                       \
    do {                                                                   \
        if (!(holds)) {                                                    \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #holds); \
            exit(1);                                                       \
        }                                                                  \
    } while (0)

typedef struct {
    uint8_t *bytes;
    size_t len;
} bytes_of;

static const char *folder;

static bytes_of load(const char *name) {
    char path[1024];
    bytes_of all = {NULL, 0};
    FILE *file;
    CHECK(snprintf(path, sizeof path, "%s/%s", folder, name) < (int)sizeof path);
    file = fopen(path, "rb");
    CHECK(file != NULL);
    CHECK(fseek(file, 0, SEEK_END) == 0);
    all.len = (size_t)ftell(file);
    rewind(file);
    all.bytes = (uint8_t *)malloc(all.len + 1);
    CHECK(all.bytes != NULL && fread(all.bytes, 1, all.len, file) == all.len);
    fclose(file);
    return all;
}

// What a stream gives, and how.
typedef struct {
    bytes_of file;
    size_t at;
    size_t most;    // bytes at a time; 0: one, then two, ...
    size_t fails;   // fails here
    int failure;    // returns this there
    int endless;    // goes on with zeros
    size_t calls;
    int over;       // has said that it is over
} stream;

static int next_bytes(void *ctx, uint8_t *out, size_t len) {
    stream *own = (stream *)ctx;
    size_t most, count;
    CHECK(!own->over);
    CHECK(len > 0 && len <= 16384);
    own->calls++;
    if (own->at >= own->fails) {
        own->over = 1;
        return own->failure;
    }
    if (own->endless && own->at >= own->file.len) {
        memset(out, 0, len);
        own->at += len;
        return (int)len;
    }
    most = own->most == 0 ? own->calls : own->most;
    count = own->file.len - own->at;
    if (count > len) count = len;
    if (count > most) count = most;
    if (count > own->fails - own->at) count = own->fails - own->at;
    memcpy(out, own->file.bytes + own->at, count);
    own->at += count;
    own->over = count == 0;
    return (int)count;
}

static stream pieces(bytes_of file, size_t most) {
    stream own;
    memset(&own, 0, sizeof own);
    own.file = file;
    own.most = most;
    own.fails = SIZE_MAX;
    return own;
}

static void verdicts(bytes_of key, bytes_of proof, bytes_of other) {
    char reason[256];
    CHECK(circlet_verify(key.bytes, key.len, proof.bytes, proof.len, reason, sizeof reason) == CIRCLET_OK);
    CHECK(reason[0] == 0);
    CHECK(circlet_verify(key.bytes, key.len, proof.bytes, proof.len, NULL, 0) == CIRCLET_OK);
    CHECK(circlet_verify(key.bytes, key.len, proof.bytes, proof.len - 1, reason, sizeof reason) == CIRCLET_BAD_FILE);
    CHECK(strcmp(reason, "cannot use the proof: the file is cut short; copy or make it again") == 0);
    CHECK(circlet_verify(proof.bytes, proof.len, key.bytes, key.len, reason, sizeof reason) == CIRCLET_BAD_KEY);
    CHECK(strncmp(reason, "cannot use the key: ", 20) == 0);
    CHECK(circlet_verify(other.bytes, other.len, proof.bytes, proof.len, reason, sizeof reason) == CIRCLET_BAD_FILE);
    CHECK(circlet_verify(NULL, 0, proof.bytes, proof.len, reason, sizeof reason) == CIRCLET_BAD_KEY);
    CHECK(circlet_verify(key.bytes, key.len, NULL, 0, reason, sizeof reason) == CIRCLET_BAD_FILE);
    CHECK(strstr(reason, "empty") != NULL);
}

static void misuse(bytes_of key, bytes_of proof) {
    char reason[256];
    circlet_key *handle = NULL;
    circlet_proven *proven;
    uint8_t digest[32];
    circlet_tensor tensor;
    int64_t value = 7;
    size_t long_ = (size_t)PTRDIFF_MAX + 1;

    CHECK(circlet_verify(NULL, 1, proof.bytes, proof.len, reason, sizeof reason) == CIRCLET_MISUSE);
    CHECK(strstr(reason, "null") != NULL);
    CHECK(circlet_verify(key.bytes, key.len, NULL, proof.len, reason, sizeof reason) == CIRCLET_MISUSE);
    CHECK(circlet_verify(key.bytes, long_, proof.bytes, proof.len, reason, sizeof reason) == CIRCLET_MISUSE);
    CHECK(circlet_verify(key.bytes, key.len, proof.bytes, SIZE_MAX, reason, sizeof reason) == CIRCLET_MISUSE);
    CHECK(circlet_verify(key.bytes, key.len, NULL, proof.len, NULL, 100) == CIRCLET_MISUSE);
    // A room that cannot be is none.
    CHECK(circlet_verify(key.bytes, key.len, NULL, proof.len, reason, SIZE_MAX) == CIRCLET_MISUSE);

    CHECK(circlet_key_new(key.bytes, key.len, NULL, reason, sizeof reason) == CIRCLET_MISUSE);
    CHECK(circlet_key_new(NULL, 5, &handle, reason, sizeof reason) == CIRCLET_MISUSE && handle == NULL);
    CHECK(circlet_key_new(key.bytes, key.len, &handle, NULL, 0) == CIRCLET_OK && handle != NULL);
    CHECK(circlet_key_digest(NULL, digest) == CIRCLET_MISUSE);
    CHECK(circlet_key_digest(handle, NULL) == CIRCLET_MISUSE);
    CHECK(circlet_key_model(NULL, reason, sizeof reason) == 0 && reason[0] == 0);
    CHECK(circlet_key_register(NULL, proof.bytes, proof.len, NULL, 0) == CIRCLET_MISUSE);
    CHECK(circlet_key_register(handle, NULL, 1, NULL, 0) == CIRCLET_MISUSE);
    CHECK(circlet_key_verify(NULL, proof.bytes, proof.len, &proven, NULL, 0) == CIRCLET_MISUSE && proven == NULL);
    CHECK(circlet_key_verify(handle, NULL, 1, &proven, NULL, 0) == CIRCLET_MISUSE && proven == NULL);
    CHECK(circlet_key_verify_stream(handle, NULL, NULL, &proven, NULL, 0) == CIRCLET_MISUSE && proven == NULL);
    CHECK(circlet_key_verify_stream(NULL, next_bytes, NULL, NULL, NULL, 0) == CIRCLET_MISUSE);

    CHECK(circlet_proven_kind(NULL) == CIRCLET_NOTHING);
    CHECK(circlet_proven_lists(NULL, CIRCLET_INPUTS) == 0);
    CHECK(circlet_proven_values(NULL, CIRCLET_INPUTS, 0, &value, 1) == 0 && value == 7);
    CHECK(circlet_proven_tensor(NULL, CIRCLET_INPUTS, 0, &tensor) == CIRCLET_MISUSE);
    CHECK(circlet_proven_name(NULL, CIRCLET_INPUTS, 0, reason, sizeof reason) == 0 && reason[0] == 0);

    CHECK(circlet_key_verify(handle, proof.bytes, proof.len, NULL, NULL, 0) == CIRCLET_OK);
    CHECK(circlet_key_verify(handle, proof.bytes, proof.len, &proven, NULL, 0) == CIRCLET_OK && proven != NULL);
    CHECK(circlet_proven_lists(proven, 99) == 0);
    CHECK(circlet_proven_lists(proven, -1) == 0);
    CHECK(circlet_proven_values(proven, CIRCLET_OUTPUTS, SIZE_MAX, &value, 1) == 0 && value == 7);
    CHECK(circlet_proven_values(proven, CIRCLET_OUTPUTS, 0, NULL, 1) == 0);
    CHECK(circlet_proven_values(proven, CIRCLET_OUTPUTS, 0, &value, SIZE_MAX / 8) == 0 && value == 7);
    CHECK(circlet_proven_tensor(proven, CIRCLET_OUTPUTS, 1, &tensor) == CIRCLET_MISUSE);
    CHECK(circlet_proven_tensor(proven, CIRCLET_OUTPUTS, 0, NULL) == CIRCLET_MISUSE);
    circlet_proven_free(proven);
    circlet_key_free(handle);
    circlet_key_free(NULL);
    circlet_proven_free(NULL);
}

// Texts end where there is room for whole characters only.
static void rooms(bytes_of key, bytes_of proof) {
    char reason[256], small[256];
    CHECK(circlet_verify(key.bytes, key.len, proof.bytes, 1, reason, sizeof reason) == CIRCLET_BAD_FILE);
    for (size_t room = 0; room <= strlen(reason) + 2; room++) {
        memset(small, '#', sizeof small);
        CHECK(circlet_verify(key.bytes, key.len, proof.bytes, 1, small, room) == CIRCLET_BAD_FILE);
        CHECK(small[room] == '#');
        if (room > 0) {
            size_t end = room - 1 < strlen(reason) ? room - 1 : strlen(reason);
            CHECK(strlen(small) == end && strncmp(small, reason, end) == 0);
        }
    }
}

static void statements(bytes_of key, bytes_of proof) {
    char name[64];
    uint8_t digest[32];
    int64_t values[64], few[3] = {1000000, 1000000, 1000000};
    circlet_key *handle;
    circlet_proven *proven;
    circlet_tensor tensor;
    CHECK(circlet_key_new(key.bytes, key.len, &handle, NULL, 0) == CIRCLET_OK);
    CHECK(circlet_key_verify(handle, proof.bytes, proof.len, &proven, NULL, 0) == CIRCLET_OK);
    CHECK(circlet_key_digest(handle, digest) == CIRCLET_OK);
    // The proof names the key that it is for, right after the header.
    CHECK(memcmp(digest, proof.bytes + 42, 32) == 0);
    CHECK(circlet_key_model(handle, NULL, 0) == circlet_key_model(handle, name, sizeof name));
    CHECK(strlen(name) == circlet_key_model(handle, name, sizeof name) && strlen(name) > 0);
    // What was proven does not need the key any more.
    circlet_key_free(handle);

    CHECK(circlet_proven_kind(proven) == CIRCLET_PROGRAM);
    CHECK(circlet_proven_lists(proven, CIRCLET_INPUTS) == 1);
    CHECK(circlet_proven_lists(proven, CIRCLET_OUTPUTS) == 1);
    CHECK(circlet_proven_lists(proven, CIRCLET_GIVEN) == 0);
    CHECK(circlet_proven_values(proven, CIRCLET_INPUTS, 0, NULL, 0) == 64);
    CHECK(circlet_proven_values(proven, CIRCLET_INPUTS, 0, values, 64) == 64);
    CHECK(circlet_proven_values(proven, CIRCLET_OUTPUTS, 0, few, 2) == 10);
    CHECK(few[0] != 1000000 && few[1] != 1000000 && few[2] == 1000000);
    CHECK(circlet_proven_tensor(proven, CIRCLET_INPUTS, 0, &tensor) == CIRCLET_OK);
    CHECK(tensor.rows * tensor.cols == 64 && tensor.fraction_bits > 0);
    CHECK(circlet_proven_name(proven, CIRCLET_OUTPUTS, 0, name, sizeof name) == strlen(name) && strlen(name) > 0);
    circlet_proven_free(proven);
}

static void streams(bytes_of key, bytes_of proof, bytes_of forged) {
    char reason[256], other[256];
    circlet_key *handle;
    circlet_proven *proven;
    stream own;
    size_t sizes[] = {0, 1, 2, 41, 42, 43, 1000, 16384, 1 << 20};
    CHECK(circlet_key_new(key.bytes, key.len, &handle, NULL, 0) == CIRCLET_OK);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        own = pieces(proof, sizes[i]);
        CHECK(circlet_key_verify_stream(handle, next_bytes, &own, &proven, reason, sizeof reason) == CIRCLET_OK);
        CHECK(own.at == proof.len && own.over && circlet_proven_kind(proven) == CIRCLET_PROGRAM);
        circlet_proven_free(proven);
        own = pieces(forged, sizes[i]);
        CHECK(circlet_key_verify_stream(handle, next_bytes, &own, &proven, reason, sizeof reason) == CIRCLET_REJECTED);
        CHECK(proven == NULL);
        CHECK(circlet_key_verify(handle, forged.bytes, forged.len, NULL, other, sizeof other) == CIRCLET_REJECTED);
        CHECK(strcmp(reason, other) == 0);
    }
    // Wherever it ends or fails, and whatever bit has flipped, the words are those for the whole file.
    for (size_t at = 0; at < proof.len; at = at < 100 ? at + 1 : at + at / 3) {
        bytes_of cut = {proof.bytes, at};
        circlet_result result = circlet_key_verify(handle, proof.bytes, at, NULL, other, sizeof other);
        CHECK(result == CIRCLET_BAD_FILE);
        own = pieces(cut, 997);
        CHECK(circlet_key_verify_stream(handle, next_bytes, &own, NULL, reason, sizeof reason) == result);
        CHECK(strcmp(reason, other) == 0);

        own = pieces(proof, 997);
        own.fails = at;
        own.failure = at % 2 ? -1 : -2147483647;
        CHECK(circlet_key_verify_stream(handle, next_bytes, &own, NULL, reason, sizeof reason) == CIRCLET_UNREAD);
        // More than it was asked for is a failure too.
        own = pieces(proof, 997);
        own.fails = at;
        own.failure = 16385;
        CHECK(circlet_key_verify_stream(handle, next_bytes, &own, NULL, NULL, 0) == CIRCLET_UNREAD);

        proof.bytes[at] ^= 1;
        result = circlet_key_verify(handle, proof.bytes, proof.len, NULL, other, sizeof other);
        CHECK(result == CIRCLET_BAD_FILE);
        own = pieces(proof, 997);
        CHECK(circlet_key_verify_stream(handle, next_bytes, &own, NULL, reason, sizeof reason) == result);
        CHECK(strcmp(reason, other) == 0);
        proof.bytes[at] ^= 1;
    }
    circlet_key_free(handle);
}

// A stream that does not end is left where no proof can go on.
static void endless(bytes_of key, bytes_of proof) {
    char reason[256];
    circlet_key *handle;
    stream own = pieces(proof, 16384);
    own.endless = 1;
    CHECK(circlet_key_new(key.bytes, key.len, &handle, NULL, 0) == CIRCLET_OK);
    CHECK(circlet_key_verify_stream(handle, next_bytes, &own, NULL, reason, sizeof reason) == CIRCLET_BAD_FILE);
    CHECK(strstr(reason, "more than 268435456 bytes") != NULL);
    CHECK(own.at <= ((size_t)1 << 28) + 16384);
    // One that begins wrongly is left at once.
    own = pieces(key, 16384);
    own.endless = 1;
    CHECK(circlet_key_verify_stream(handle, next_bytes, &own, NULL, reason, sizeof reason) == CIRCLET_BAD_FILE);
    CHECK(own.calls == 1);
    circlet_key_free(handle);
}

static void registrations(bytes_of key, bytes_of own, bytes_of other) {
    char reason[256];
    circlet_key *handle;
    CHECK(circlet_key_new(key.bytes, key.len, &handle, NULL, 0) == CIRCLET_OK);
    CHECK(circlet_key_register(handle, own.bytes, own.len, reason, sizeof reason) == CIRCLET_OK && reason[0] == 0);
    CHECK(circlet_key_register(handle, other.bytes, other.len, reason, sizeof reason) == CIRCLET_REJECTED);
    CHECK(circlet_key_register(handle, own.bytes, own.len - 1, reason, sizeof reason) == CIRCLET_BAD_FILE);
    CHECK(circlet_key_register(handle, key.bytes, key.len, reason, sizeof reason) == CIRCLET_BAD_FILE);
    circlet_key_free(handle);
}

int main(int argc, char **argv) {
    bytes_of key, proof, forged, tiny, registration, other;
    if (argc != 2 && argc != 3) {
        fputs("usage: boundary FOLDER [quick]\n", stderr);
        return 2;
    }
    folder = argv[1];
    key = load("digits.vk");
    proof = load("digits.proof");
    forged = load("digits-middle.proof");
    tiny = load("tiny.vk");
    registration = load("tiny.reg");
    other = load("bert.reg");

    CHECK(strlen(circlet_version()) > 0 && circlet_file_version() > 0);
    verdicts(key, proof, tiny);
    misuse(key, proof);
    rooms(key, proof);
    statements(key, proof);
    streams(key, proof, forged);
    registrations(tiny, registration, other);
    // Valgrind takes long for a quarter of a gigabyte.
    if (argc == 2) endless(key, proof);

    free(key.bytes);
    free(proof.bytes);
    free(forged.bytes);
    free(tiny.bytes);
    free(registration.bytes);
    free(other.bytes);
    printf("boundary: all well, library %s, files of version %u\n", circlet_version(), circlet_file_version());
    return 0;
}
