#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "model/function.h"
#include "sched/env_vars.h"

static const char *value_of(const struct env_vars *vars, const char *name)
{
    size_t len = strlen(name);

    for (size_t i = 0; i < vars->count; i++) {
        if (strncmp(vars->env[i], name, len) == 0 && vars->env[i][len] == '=')
            return vars->env[i] + len + 1;
    }
    return NULL;
}

static struct env_vars build(const char *runtime, struct env_var *own, size_t own_count)
{
    static struct fn_version version;
    struct env_vars_input input = {
        .version = &version,
        .region = "eu-west-1",
        .log_stream = "2026/01/15/[$LATEST]00",
        .access_key = "ASIA",
        .secret = "s",
        .token = "t",
        .interpreter = "/usr/bin/it",
    };
    struct env_vars vars;

    version = (struct fn_version){
        .function_name = (char[]){ "fn" },
        .version = (char[]){ "$LATEST" },
        .runtime = (char *)(uintptr_t)runtime,
        .handler = (char[]){ "index.handler" },
        .log_group = (char[]){ "/aws/lambda/fn" },
        .memory_mb = 128,
        .vars = own,
        .var_count = own_count,
    };
    assert_int_equal(env_vars_build(&input, &vars), 0);
    return vars;
}

static void test_node(void **state)
{
    (void)state;
    struct env_vars vars = build("nodejs20.x", NULL, 0);

    assert_string_equal(value_of(&vars, "AWS_EXECUTION_ENV"), "AWS_Lambda_nodejs20.x");
    assert_string_equal(value_of(&vars, "NODE_PATH"),
                        "/opt/nodejs/node20/node_modules:/opt/nodejs/node_modules:"
                        "/var/runtime/node_modules:/var/runtime:/var/task");
    assert_string_equal(value_of(&vars, "PATH"), "/var/lang/bin:/usr/local/bin:/usr/bin/:/bin:/opt/bin");
    assert_string_equal(value_of(&vars, "AWS_LAMBDA_RUNTIME_API"), "127.0.0.1:9001");
    assert_string_equal(vars.argv[0], "/usr/bin/it");
    env_vars_done(&vars);
}

static void test_python_sets_the_c_type_from_3_12_on(void **state)
{
    (void)state;
    struct env_vars vars = build("python3.9", NULL, 0);

    assert_null(value_of(&vars, "LC_CTYPE"));
    env_vars_done(&vars);
    vars = build("python3.11", NULL, 0);
    assert_null(value_of(&vars, "LC_CTYPE"));
    env_vars_done(&vars);
    vars = build("python3.12", NULL, 0);
    assert_string_equal(value_of(&vars, "LC_CTYPE"), "C.UTF-8");
    env_vars_done(&vars);
}

static void test_customers_may_override_some_and_not_others(void **state)
{
    (void)state;
    struct env_var own[] = { { (char[]){ "TZ" }, (char[]){ "Europe/Berlin" } },
                             { (char[]){ "AWS_REGION" }, (char[]){ "xx" } },
                             { (char[]){ "_HANDLER" }, (char[]){ "evil" } },
                             { (char[]){ "MINE" }, (char[]){ "a=b" } } };
    struct env_vars vars = build("provided.al2023", own, 4);

    assert_string_equal(value_of(&vars, "TZ"), "Europe/Berlin");
    assert_string_equal(value_of(&vars, "AWS_REGION"), "eu-west-1");
    assert_string_equal(value_of(&vars, "_HANDLER"), "index.handler");
    assert_string_equal(value_of(&vars, "MINE"), "a=b");
    assert_null(value_of(&vars, "AWS_EXECUTION_ENV"));
    assert_int_equal(vars.argc, 1);
    assert_string_equal(vars.argv[0], "/var/task/bootstrap");
    env_vars_done(&vars);
}

static void test_wrapper_stands_in_front_of_managed_runtimes_only(void **state)
{
    (void)state;
    struct env_var own[] = { { (char[]){ "AWS_LAMBDA_EXEC_WRAPPER" }, (char[]){ "/opt/wrap" } } };
    struct env_vars vars = build("python3.11", own, 1);

    assert_string_equal(vars.argv[0], "/opt/wrap");
    assert_string_equal(vars.argv[1], "/usr/bin/it");
    assert_true(vars.has_wrapper);
    env_vars_done(&vars);
    vars = build("provided.al2", own, 1);
    assert_string_equal(vars.argv[0], "/var/task/bootstrap");
    env_vars_done(&vars);
}

/* 4 KB of them, each as short as it may be. */
static void test_as_many_as_the_limit_allows(void **state)
{
    (void)state;
    enum { MANY = 511 };
    static char names[MANY][3];
    struct env_var own[MANY];
    struct env_vars vars;

    for (size_t i = 0; i < MANY; i++) {
        names[i][0] = (char)('a' + i / 26);
        names[i][1] = (char)('a' + i % 26);
        own[i] = (struct env_var){ names[i], (char[]){ "" } };
    }
    vars = build("nodejs20.x", own, MANY);
    assert_string_equal(value_of(&vars, "aa"), "");
    assert_string_equal(value_of(&vars, names[MANY - 1]), "");
    assert_string_equal(value_of(&vars, "AWS_LAMBDA_RUNTIME_API"), "127.0.0.1:9001");
    env_vars_done(&vars);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_node),
        cmocka_unit_test(test_python_sets_the_c_type_from_3_12_on),
        cmocka_unit_test(test_customers_may_override_some_and_not_others),
        cmocka_unit_test(test_as_many_as_the_limit_allows),
        cmocka_unit_test(test_wrapper_stands_in_front_of_managed_runtimes_only),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
