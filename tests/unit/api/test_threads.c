#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <pthread.h>

#include "base/err.h"
#include "fixture.h"
#include "model/function.h"

#define FN "/2015-03-31/functions"

enum { THREADS = 4, ROUNDS = 15 };

struct worker {
    struct fixture *fixture;
    int number, wrong;
};

/* As the door does it: request, picture, settle, settled. Returns the status. */
static int ask(struct worker *worker, const char *method, const char *path, const char *body)
{
    struct api_request request = { .method = method,
                                   .path = path,
                                   .query = "",
                                   .body = body,
                                   .body_len = body ? strlen(body) : 0,
                                   .request_id = "r",
                                   .host = "h",
                                   .principal = &worker->fixture->principal };
    struct api *api = worker->fixture->api;
    struct api_response response;

    api_handle(api, &request, &response);
    if (response.settle) {
        struct function *picture = api_settle(api, response.changed[0]);

        /* NULL when the other worker has deleted it meanwhile. */
        if (picture) {
            api_settled(api, response.changed[0], picture->sequence);
            (void)function_unref(picture);
        }
    }
    buf_done(&response.body);
    return response.status;
}

/* Two workers share a function, so that create and delete cross each other. */
static void *work(void *ctx)
{
    struct worker *worker = ctx;
    char create[4096], update[4096], path[64], code[80];

    (void)snprintf(
        create, sizeof create,
        "{\"FunctionName\":\"f%d\",\"Runtime\":\"nodejs20.x\",\"Role\":\"arn:aws:iam::000000000000:role/r\","
        "\"Handler\":\"i.h\",\"Code\":{\"ZipFile\":\"%s\"}}",
        worker->number / 2, fixture_zip);
    (void)snprintf(update, sizeof update, "{\"ZipFile\":\"%s\",\"Publish\":true}", fixture_zip2);
    (void)snprintf(path, sizeof path, FN "/f%d", worker->number / 2);
    (void)snprintf(code, sizeof code, "%s/code", path);
    for (int i = 0; i < ROUNDS; i++) {
        struct function *picture;
        int status = ask(worker, "POST", FN, create);

        worker->wrong += status != 201 && status != 409;
        status = ask(worker, "PUT", code, update);
        worker->wrong += status != 200 && status != 404 && status != 409;
        picture = api_picture(worker->fixture->api, path + strlen(FN "/"));
        worker->wrong += !picture || (!picture->deleted && !picture->latest);
        if (picture)
            (void)function_unref(picture);
        status = ask(worker, "DELETE", path, NULL);
        worker->wrong += status != 204 && status != 404;
    }
    return NULL;
}

static void requests_cross_each_other(void **state)
{
    struct fixture f = { 0 };
    struct worker workers[THREADS];
    pthread_t threads[THREADS];

    (void)state;
    fixture_open(&f);
    for (int i = 0; i < THREADS; i++) {
        workers[i] = (struct worker){ .fixture = &f, .number = i };
        assert_int_equal(pthread_create(&threads[i], NULL, work, &workers[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        (void)pthread_join(threads[i], NULL);
        assert_int_equal(workers[i].wrong, 0);
    }
    assert_int_equal(fixture_request(&f, "GET", FN, NULL), 200);
    assert_int_equal((int)fixture_number(&f, "Functions"), 0);
    fixture_done(&f);
}

static void hold(struct function *function, void *ctx)
{
    struct function ***next = ctx;

    *(*next)++ = function;
}

static long resident_kb(void)
{
    FILE *file = fopen("/proc/self/status", "re");
    char line[256];
    long kb = 0;

    while (file && fgets(line, sizeof line, file)) {
        if (strncmp(line, "VmRSS:", 6) == 0)
            kb = strtol(line + 6, NULL, 10);
    }
    (void)fclose(file);
    return kb;
}

/* Sanitizers keep what is freed, so the figure means something without them only. */
static bool is_plain_build(void)
{
#if defined(__SANITIZE_ADDRESS__)
    return false;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
    return false;
#else
    return true;
#endif
#else
    return true;
#endif
}

static void a_thousand_functions_stay_small(void **state)
{
    enum { FUNCTIONS = 1000, LIMIT_KB = 16384 };
    struct fixture f = { 0 };
    struct function **pictures = calloc(FUNCTIONS, sizeof(struct function *)), **next = pictures;
    struct err err = { 0 };
    long before = resident_kb();
    char name[16];

    (void)state;
    fixture_open(&f);
    for (int i = 0; i < FUNCTIONS; i++) {
        (void)snprintf(name, sizeof name, "f%d", i);
        fixture_function(&f, name,
                         ",\"Environment\":{\"Variables\":{\"NAME\":\"value\",\"OTHER\":\"another value\"}}");
    }
    assert_int_equal(api_each(f.api, hold, (void *)&next, &err), 0);
    assert_int_equal(next - pictures, FUNCTIONS);
    if (is_plain_build())
        assert_in_range(resident_kb() - before, 0, LIMIT_KB);
    print_message("# %ld KiB for %d functions\n", resident_kb() - before, FUNCTIONS);
    for (size_t i = 0; i < FUNCTIONS; i++)
        (void)function_unref(pictures[i]);
    free(pictures);
    fixture_done(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_cross_each_other),
        cmocka_unit_test(a_thousand_functions_stay_small),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
