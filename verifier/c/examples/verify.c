// Verifies a proof's file: verify KEY PROOF [REGISTRATION]
//
// Exit codes: 0 if the proof is accepted, 1 if it is rejected, 2 for wrong usage, 3 for a file that cannot be used.

#include <stdio.h>
#include <stdlib.h>

#include "circlet.h"

// Reads a small file whole; the caller frees it.
static uint8_t *read_file(const char *path, size_t *len) {
    FILE *file = fopen(path, "rb");
    uint8_t *bytes = NULL;
    long end;
    if (file == NULL) return NULL;
    if (fseek(file, 0, SEEK_END) == 0 && (end = ftell(file)) >= 0) {
        rewind(file);
        bytes = malloc((size_t)end + 1);
        *len = bytes == NULL ? 0 : fread(bytes, 1, (size_t)end, file);
    }
    fclose(file);
    return bytes;
}

// Gives the next bytes of the proof's file.
static int next_bytes(void *ctx, uint8_t *out, size_t len) {
    FILE *file = ctx;
    size_t count = fread(out, 1, len, file);
    return ferror(file) ? -1 : (int)count;
}

// Prints the lists of a part of the statement.
static void print_part(const circlet_proven *proven, circlet_part part, const char *title) {
    size_t lists = circlet_proven_lists(proven, part);
    for (size_t index = 0; index < lists; index++) {
        size_t count = circlet_proven_values(proven, part, index, NULL, 0);
        int64_t *values = malloc((count + 1) * sizeof *values);
        circlet_tensor tensor;
        if (values == NULL) {
            fputs("there is not enough memory\n", stderr);
            exit(3);
        }
        circlet_proven_values(proven, part, index, values, count);
        printf("%s", title);
        if (circlet_proven_tensor(proven, part, index, &tensor) == CIRCLET_OK) {
            printf(" (%lu x %lu, times 2^%ld)", (unsigned long)tensor.rows, (unsigned long)tensor.cols,
                   -(long)tensor.fraction_bits);
        }
        for (size_t i = 0; i < count; i++) printf(" %lld", (long long)values[i]);
        printf("\n");
        free(values);
    }
}

static int fail(circlet_result result, const char *what, const char *reason) {
    if (result == CIRCLET_REJECTED) {
        printf("rejected: %s%s\n", what, reason);
        return 1;
    }
    printf("error: %s%s\n", what, reason);
    return 3;
}

int main(int argc, char **argv) {
    char reason[512];
    uint8_t digest[32];
    circlet_key *key = NULL;
    circlet_proven *proven = NULL;
    circlet_result result;
    uint8_t *bytes;
    size_t len = 0;
    FILE *file;

    if (argc != 3 && argc != 4) {
        fputs("usage: verify KEY PROOF [REGISTRATION]\n", stderr);
        return 2;
    }

    bytes = read_file(argv[1], &len);
    if (bytes == NULL) return fail(CIRCLET_UNREAD, "cannot read ", argv[1]);
    result = circlet_key_new(bytes, len, &key, reason, sizeof reason);
    free(bytes);
    if (result != CIRCLET_OK) return fail(result, "", reason);

    file = fopen(argv[2], "rb");
    if (file == NULL) {
        circlet_key_free(key);
        return fail(CIRCLET_UNREAD, "cannot read ", argv[2]);
    }
    result = circlet_key_verify_stream(key, next_bytes, file, &proven, reason, sizeof reason);
    fclose(file);
    if (result != CIRCLET_OK) {
        circlet_key_free(key);
        return fail(result, "", reason);
    }

    if (argc == 4) {
        bytes = read_file(argv[3], &len);
        result = bytes == NULL ? CIRCLET_UNREAD : circlet_key_register(key, bytes, len, reason, sizeof reason);
        if (result != CIRCLET_OK) {
            circlet_proven_free(proven);
            circlet_key_free(key);
            return bytes == NULL ? fail(result, "cannot read ", argv[3])
                                 : (free(bytes), fail(result, "the registration: ", reason));
        }
        free(bytes);
    }

    circlet_key_digest(key, digest);
    printf("accepted\nkey ");
    for (size_t i = 0; i < sizeof digest; i++) printf("%02x", digest[i]);
    printf("\nbounds %s\n", argc == 4 ? "registered" : "trusted");
    print_part(proven, CIRCLET_INPUTS, "input");
    print_part(proven, CIRCLET_OUTPUTS, "output");
    print_part(proven, CIRCLET_LISTS, "list");
    print_part(proven, CIRCLET_GIVEN, "given");
    print_part(proven, CIRCLET_GENERATED, "generated");
    circlet_proven_free(proven);
    circlet_key_free(key);
    return 0;
}
