/*
 * cut_hash.c - the SHA-256 of a document without some of its members.
 *
 * The happy path: the bytes between the cuts are hashed unchanged, since they are canonical.
 * projection_finish makes projection_hash with it, and rehash makes it again from a kept document.
 *
 * Nothing can go wrong but running out of memory.  Any thread; each has a context of its own.
 */

#include "projection/cut_hash.h"

#include <openssl/evp.h>
#include <pthread.h>

static EVP_MD *sha256;
static pthread_key_t hash_context;
static pthread_once_t hash_once = PTHREAD_ONCE_INIT;

static void free_context(void *context)
{
    EVP_MD_CTX_free(context);
}

/* Once: fetching an algorithm by name takes longer than hashing a document with it. */
static void hash_start(void)
{
    sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
    PRE(sha256 != NULL);
    PRE(pthread_key_create(&hash_context, free_context) == 0);
}

static EVP_MD_CTX *thread_context(void)
{
    pthread_once(&hash_once, hash_start);
    EVP_MD_CTX *context = pthread_getspecific(hash_context);
    if (context == NULL) {
        context = EVP_MD_CTX_new();
        PRE(context != NULL);
        PRE(pthread_setspecific(hash_context, context) == 0);
    }
    return context;
}

void cut_hash(struct slice json, const struct cut *cuts, size_t count, uint8_t hash[32])
{
    EVP_MD_CTX *context = thread_context();
    size_t from = 0;
    PRE(EVP_DigestInit_ex2(context, sha256, NULL) == 1);
    for (size_t i = 0; i < count; i++) {
        PRE(EVP_DigestUpdate(context, json.data + from, cuts[i].from - from) == 1);
        from = cuts[i].to;
    }
    PRE(EVP_DigestUpdate(context, json.data + from, json.len - from) == 1);
    PRE(EVP_DigestFinal_ex(context, hash, NULL) == 1);
}
