#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "base/err.h"
#include "cli/guess.h"
#include "cli/package.h"

struct file {
    const char *name, *content;
};

static int guess(const struct file *files, size_t count, const char *handler, enum guess_kind wanted,
                 struct guess *ret_guess, struct err *err)
{
    struct package_entry entries[8];
    struct package_list list = { entries, count, count };

    for (size_t i = 0; i < count; i++)
        entries[i] =
            (struct package_entry){ (char *)(uintptr_t)files[i].name, (char *)(uintptr_t)files[i].content };
    return guess_package(&list, handler, wanted, ret_guess, err);
}

#define FILES(...) \
    ((const struct file[]){ __VA_ARGS__ }), sizeof((const struct file[]){ __VA_ARGS__ }) / sizeof(struct file)

static void expect(const struct file *files, size_t count, enum guess_kind kind, const char *handler)
{
    struct guess found = { 0 };
    struct err err = { 0 };

    if (guess(files, count, NULL, GUESS_NONE, &found, &err) < 0)
        fail_msg("%s: %s", handler, err.text);
    assert_int_equal(found.kind, kind);
    assert_string_equal(found.handler, handler);
}

static void test_node_packages(void **state)
{
    (void)state;
    expect(FILES({ "index.mjs", "export const handler = async () => 1" }), GUESS_NODE, "index.handler");
    expect(FILES({ "index.js", "exports.handler = async () => 1" }), GUESS_NODE, "index.handler");
    expect(FILES({ "index.js", "module.exports = { handler }" }), GUESS_NODE, "index.handler");
    expect(FILES({ "app.js", "exports.lambdaHandler = f" }), GUESS_NODE, "app.lambdaHandler");
    expect(FILES({ "x.js", "" }, { "lambda.cjs", "exports.handler = f" }), GUESS_NODE, "lambda.handler");
    expect(FILES({ "index.js", "function f() {}; export { f as handler };" }), GUESS_NODE, "index.handler");
    expect(FILES({ "package.json", "{\"main\":\"./dist/server.js\"}" },
                 { "dist/server.js", "exports.handler=1" }),
           GUESS_NODE, "dist/server.handler");
    expect(FILES({ "package.json", "{\"main\":\"lib/x\"}" }, { "lib/x.mjs", "export function handler() {}" }),
           GUESS_NODE, "lib/x.handler");
}

static void test_python_packages(void **state)
{
    (void)state;
    expect(FILES({ "lambda_function.py", "import os\n\ndef lambda_handler(event, context):\n  pass" }),
           GUESS_PYTHON, "lambda_function.lambda_handler");
    expect(FILES({ "app.py", "def handler(event, context):\n  pass" }), GUESS_PYTHON, "app.handler");
    expect(FILES({ "main.py", "app = FastAPI()\nhandler = Mangum(app)" }), GUESS_PYTHON, "main.handler");
    expect(FILES({ "index.py", "x = 1\ndef  lambda_handler (e, c):" }, { "app.py", "" }), GUESS_PYTHON,
           "index.lambda_handler");
}

static void test_a_bootstrap_comes_first(void **state)
{
    (void)state;
    expect(FILES({ "bootstrap", NULL }, { "index.js", "exports.handler=1" }), GUESS_PROVIDED, "bootstrap");
}

static void test_nothing_found_says_where_was_looked(void **state)
{
    (void)state;
    struct guess found = { 0 };
    struct err err = { 0 };

    assert_true(guess(FILES({ "index.js", "console.log('handler')" }), NULL, GUESS_NONE, &found, &err) < 0);
    assert_true(guess(FILES({ "app.py", "# def handler(\n  def handler(x)\nhandlers = 1\nhandler == 2" }),
                      NULL, GUESS_NONE, &found, &err) < 0);
    assert_true(guess(FILES({ "src/index.js", "exports.handler=1" }), NULL, GUESS_NONE, &found, &err) < 0);
    assert_non_null(strstr(err.text, "there is src/index.js"));
    assert_non_null(strstr(err.text, "lambda_function"));
    assert_true(guess(FILES({ "package.json", "{broken" }), NULL, GUESS_NODE, &found, &err) < 0);
    assert_null(strstr(err.text, "lambda_function"));
    assert_true(guess(FILES({ "index.js", "exports.handler=1" }), NULL, GUESS_PYTHON, &found, &err) < 0);
}

static void expect_given(const struct file *files, size_t count, const char *handler, enum guess_kind kind)
{
    struct guess found = { 0 };

    assert_int_equal(guess(files, count, handler, GUESS_NONE, &found, NULL), kind == GUESS_NONE ? -22 : 0);
    assert_int_equal(found.kind, kind);
}

static void test_a_given_handler_names_the_language(void **state)
{
    (void)state;
    expect_given(FILES({ "src/app.mjs", NULL }), "src/app.run", GUESS_NODE);
    expect_given(FILES({ "src/app.py", NULL }), "src/app.run", GUESS_PYTHON);
    expect_given(FILES({ "src/app.py", NULL }), "src.app.run", GUESS_PYTHON);
    expect_given(FILES({ "bootstrap", NULL }), "anything", GUESS_PROVIDED);
    expect_given(FILES({ "src/app.py", NULL }), "other.run", GUESS_NONE);
    assert_int_equal(guess_kind_of("nodejs22.x"), GUESS_NODE);
    assert_int_equal(guess_kind_of("provided.al2"), GUESS_PROVIDED);
    assert_int_equal(guess_kind_of("java21"), GUESS_NONE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_node_packages),
        cmocka_unit_test(test_python_packages),
        cmocka_unit_test(test_a_bootstrap_comes_first),
        cmocka_unit_test(test_nothing_found_says_where_was_looked),
        cmocka_unit_test(test_a_given_handler_names_the_language),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
