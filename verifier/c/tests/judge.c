// Says what the library says of files: judge < LINES, each of which names a key's file and a proof's file.
//
// Prints a line for each: the result and the reason. It is the same for whole files and for streams in pieces of 1, 7 and
// as many bytes as are asked for; otherwise this ends with 1.

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "circlet.h"

typedef struct {
    uint8_t *bytes;
    size_t len;
} contents;

static contents load(const char *path) {
    contents all = {NULL, 0};
    long end;
    FILE *file = fopen(path, "rb");
    if (file == NULL || fseek(file, 0, SEEK_END) != 0 || (end = ftell(file)) < 0) {
        fprintf(stderr, "judge: cannot read %s\n", path);
        exit(2);
    }
    rewind(file);
    all.len = (size_t)end;
    all.bytes = (uint8_t *)malloc(all.len + 1);
    if (all.bytes == NULL || fread(all.bytes, 1, all.len, file) != all.len) exit(2);
    fclose(file);
    return all;
}

// What is left of a file, and how much of it is given at a time.
typedef struct {
    contents rest;
    size_t most;
} stream;

static int next_bytes(void *ctx, uint8_t *out, size_t len) {
    stream *own = (stream *)ctx;
    size_t count = own->rest.len < len ? own->rest.len : len;
    if (count > own->most) count = own->most;
    memcpy(out, own->rest.bytes, count);
    own->rest.bytes += count;
    own->rest.len -= count;
    return (int)count;
}

// Whether a key and a stream give the same verdict as two files.
static int agrees(contents key, contents proof, size_t most, circlet_result expected, const char *why) {
    char reason[512];
    circlet_key *handle;
    circlet_proven *proven = NULL;
    stream own;
    circlet_result result = circlet_key_new(key.bytes, key.len, &handle, reason, sizeof reason);
    own.rest = proof;
    own.most = most;
    if (result == CIRCLET_OK) {
        result = circlet_key_verify_stream(handle, next_bytes, &own, &proven, reason, sizeof reason);
    }
    circlet_key_free(handle);
    if ((proven != NULL) != (result == CIRCLET_OK)) return 0;
    circlet_proven_free(proven);
    return result == expected && strcmp(reason, why) == 0;
}

int main(void) {
    static char line[4096], key_path[2048], proof_path[2048];
    const size_t sizes[] = {1, 7, 16384};
    while (fgets(line, sizeof line, stdin) != NULL) {
        char reason[512];
        contents key, proof;
        circlet_result result;
        if (sscanf(line, "%2047[^\t]\t%2047[^\n]", key_path, proof_path) != 2) return 2;
        key = load(key_path);
        proof = load(proof_path);
        result = circlet_verify(key.bytes, key.len, proof.bytes, proof.len, reason, sizeof reason);
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
            if (!agrees(key, proof, sizes[i], result, reason)) {
                fprintf(stderr, "judge: %s in pieces of %lu\n", proof_path, (unsigned long)sizes[i]);
                return 1;
            }
        }
        printf("%d %s\n", (int)result, reason);
        free(key.bytes);
        free(proof.bytes);
    }
    return 0;
}
