/*
 * curl_loop.c - the least that libcurl can do: POST one body over and over.
 *
 *   curl_loop URL CONNECTIONS COUNT BODY_FILE
 *
 * The happy path: CONNECTIONS handles in one multi handle; each is sent again as soon as it is
 * answered, until COUNT posts are answered.  Writes "rate=POSTS_PER_S cpu_us=CPU_US_PER_POST".
 * The headers are the sidecar's.  Nothing is read of an answer but that it is 200.
 *
 * What can go wrong: any failure ends the program with status 1; a bench has no use for it.
 */

#include <curl/curl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>

#define MAX_CONNECTIONS 256

static double cpu_us(void)
{
    struct rusage u;

    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1e6 +
           (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec);
}

static double now_us(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static void fail(const char *why)
{
    fprintf(stderr, "curl_loop: %s\n", why);
    exit(1);
}

static size_t swallow(char *data, size_t size, size_t count, void *arg)
{
    (void)data, (void)arg;
    return size * count;
}

static char *read_body(const char *path, long *len)
{
    FILE *f = fopen(path, "r");
    char *body = malloc(1 << 20);

    if (f == NULL || body == NULL)
        fail(path);
    *len = (long)fread(body, 1, 1 << 20, f);
    fclose(f);
    return body;
}

static CURL *new_handle(const char *url, char *body, long len)
{
    struct curl_slist *headers = curl_slist_append(NULL, "Content-Type: application/json");
    CURL *easy = curl_easy_init();

    headers = curl_slist_append(headers, "Expect:");
    headers = curl_slist_append(headers, "Accept: application/json");
    curl_easy_setopt(easy, CURLOPT_URL, url);
    curl_easy_setopt(easy, CURLOPT_POST, 1L);
    curl_easy_setopt(easy, CURLOPT_POSTFIELDS, body);
    curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE, len);
    curl_easy_setopt(easy, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, swallow);
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_PROXY, "");
    return easy;
}

/* Take the answers that are there; returns how many, and sends each handle again while ${left}. */
static long take_answers(CURLM *multi, long *left)
{
    long answered = 0, status = 0;
    int rest;

    for (CURLMsg *m; (m = curl_multi_info_read(multi, &rest)) != NULL;) {
        CURL *easy = m->easy_handle;
        if (m->data.result != CURLE_OK)
            fail(curl_easy_strerror(m->data.result));
        curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
        if (status != 200)
            fail("not 200");
        curl_multi_remove_handle(multi, easy);
        answered++;
        if (*left > 0) {
            --*left;
            curl_multi_add_handle(multi, easy);
        }
    }
    return answered;
}

int main(int argc, char **argv)
{
    if (argc != 5)
        fail("URL CONNECTIONS COUNT BODY_FILE");
    long connections = atol(argv[2]), count = atol(argv[3]), left = count, answered = 0, len;
    char *body = read_body(argv[4], &len);
    CURLM *multi = curl_multi_init();
    int running;

    if (connections < 1 || connections > MAX_CONNECTIONS || count < connections)
        fail("connections or count");
    curl_multi_setopt(multi, CURLMOPT_MAXCONNECTS, connections);
    for (long i = 0; i < connections; i++, left--)
        curl_multi_add_handle(multi, new_handle(argv[1], body, len));
    double began = now_us(), cpu = cpu_us();
    while (answered < count) {
        curl_multi_perform(multi, &running);
        long n = take_answers(multi, &left);
        answered += n;
        if (n == 0)
            curl_multi_poll(multi, NULL, 0, 1000, NULL);
    }
    printf("rate=%.0f cpu_us=%.3f\n", (double)count / (now_us() - began) * 1e6,
           (cpu_us() - cpu) / (double)count);
    return 0;
}
