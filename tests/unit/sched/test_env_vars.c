#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>

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

static struct env_vars build_for(struct fn_version kind, const char *runtime, bool is_template,
                                 struct env_var *own, size_t own_count)
{
    static struct fn_version version;
    struct env_vars_input input = {
        .version = &version,
        .region = "eu-west-1",
        .log_stream = "2026/01/15/[$LATEST]00",
        .access_key = "ASIA",
        .secret = "s",
        .token = "t",
        .credentials_token = "0123",
        .is_template = is_template,
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
        .snap_start = kind.snap_start,
        .clean = kind.clean,
        .vars = own,
        .var_count = own_count,
    };
    assert_int_equal(env_vars_build(&input, &vars), 0);
    return vars;
}

static struct env_vars build(const char *runtime, struct env_var *own, size_t own_count)
{
    return build_for((struct fn_version){ 0 }, runtime, false, own, own_count);
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
    static char names[MANY][3], none[] = "";
    struct env_var own[MANY];
    struct env_vars vars;

    for (size_t i = 0; i < MANY; i++) {
        names[i][0] = (char)('a' + i / 26);
        names[i][1] = (char)('a' + i % 26);
        own[i] = (struct env_var){ names[i], none };
    }
    vars = build("nodejs20.x", own, MANY);
    assert_string_equal(value_of(&vars, "aa"), "");
    assert_string_equal(value_of(&vars, names[MANY - 1]), "");
    assert_string_equal(value_of(&vars, "AWS_LAMBDA_RUNTIME_API"), "127.0.0.1:9001");
    env_vars_done(&vars);
}

static void test_a_template_knows_no_function(void **state)
{
    (void)state;
    static const char *const of_a_function[] = {
        "_HANDLER",          "AWS_ACCESS_KEY_ID",        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN", "AWS_LAMBDA_FUNCTION_NAME", "AWS_LAMBDA_LOG_STREAM_NAME"
    };
    struct env_vars vars, ordinary = build("nodejs20.x", NULL, 0);

    assert_int_equal(env_vars_build_template("nodejs20.x", "eu-west-1", "/usr/bin/it", &vars), 0);
    assert_string_equal(value_of(&vars, "IRORI_TEMPLATE"), "runtime");
    assert_string_equal(value_of(&vars, "UV_USE_IO_URING"), "0");
    assert_string_equal(value_of(&vars, "AWS_LAMBDA_RUNTIME_API"), "127.0.0.1:9001");
    for (size_t i = 0; i < sizeof of_a_function / sizeof *of_a_function; i++) {
        assert_null(value_of(&vars, of_a_function[i]));
        assert_non_null(value_of(&ordinary, of_a_function[i]));
    }
    /* The rest is as in an ordinary start, the program too. */
    for (size_t i = 0; i < vars.count; i++) {
        char name[64];

        (void)snprintf(name, sizeof name, "%.*s", (int)strcspn(vars.env[i], "="), vars.env[i]);
        if (strcmp(name, "IRORI_TEMPLATE") != 0 && strcmp(name, "UV_USE_IO_URING") != 0 &&
            strcmp(name, "LD_PRELOAD") != 0)
            assert_string_equal(value_of(&vars, name), value_of(&ordinary, name));
    }
    assert_int_equal(vars.argc, ordinary.argc + 1);
    assert_string_equal(vars.argv[0], ordinary.argv[0]);
    assert_string_equal(vars.argv[1], "--v8-pool-size=2");
    assert_string_equal(vars.argv[2], ordinary.argv[1]);
    env_vars_done(&vars);
    env_vars_done(&ordinary);
}

static void test_the_wake_up_message_carries_everything(void **state)
{
    (void)state;
    struct env_var own[] = { { (char[]){ "MINE" }, (char[]){ "a=\"b\"\n\x01Ã¤" } },
                             { (char[]){ "EMPTY" }, (char[]){ "" } } };
    unsigned char seed[ENV_VARS_SEED_BYTES] = { 0xab };
    struct env_vars vars = build("nodejs20.x", own, 2);
    char *text = env_vars_wake(&vars, "in\"dex.handler", seed);
    cJSON *json = cJSON_Parse(text);
    const cJSON *env = cJSON_GetObjectItemCaseSensitive(json, "env"), *at;
    const char *hex = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(json, "seed"));

    assert_non_null(json);
    assert_int_equal(strlen(hex), 64);
    assert_int_equal(strncmp(hex, "ab00", 4), 0);
    assert_string_equal(cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(json, "handler")),
                        "in\"dex.handler");
    assert_string_equal(cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(json, "root")), "/var/task");
    assert_int_equal(cJSON_GetArraySize(env), vars.count);
    cJSON_ArrayForEach(at, env) assert_string_equal(cJSON_GetStringValue(at), value_of(&vars, at->string));
    cJSON_Delete(json);
    free(text);
    env_vars_done(&vars);
}

static void test_variables_that_a_clone_could_not_obey(void **state)
{
    (void)state;
    static const struct {
        const char *runtime, *name, *value;
        bool against;
    } rows[] = {
        { "nodejs20.x", "MINE", "1", false },
        { "nodejs20.x", "NODE_ENV", "production", false },
        { "nodejs20.x", "NODE_OPTIONS", "--enable-source-maps", true },
        { "nodejs20.x", "NODE_PATH", "/opt/mine", true },
        { "nodejs20.x", "NODE_EXTRA_CA_CERTS", "/x", true },
        { "nodejs20.x", "LD_PRELOAD", "/opt/x.so", true },
        { "nodejs20.x", "LD_LIBRARY_PATH", "/opt/lib", true },
        { "nodejs20.x", "UV_THREADPOOL_SIZE", "8", true },
        { "nodejs20.x", "SSL_CERT_FILE", "/x", true },
        { "nodejs20.x", "OPENSSL_CONF", "/x", true },
        { "nodejs20.x", "TZ", ":UTC", false },
        { "nodejs20.x", "TZ", "Europe/Berlin", true },
        { "nodejs20.x", "TZ_OF_MINE", "x", false },
        { "nodejs20.x", "LANG", "en_US.UTF-8", false },
        { "nodejs20.x", "LANG", "C", true },
        { "nodejs20.x", "LC_ALL", "C", true },
        { "python3.12", "LC_CTYPE", "C.UTF-8", false },
        { "python3.11", "LC_CTYPE", "C.UTF-8", true },
        { "python3.11", "PYTHONPATH", "/opt/mine", true },
        { "python3.11", "PYTHONUNBUFFERED", "1", true },
        { "python3.11", "MALLOC_ARENA_MAX", "1", true },
        { "python3.11", "GLIBC_TUNABLES", "x", true },
        { "python3.11", "AWS_LAMBDA_EXEC_WRAPPER", "/opt/wrap", true },
        { "python3.11", "AWS_LAMBDA_EXEC_WRAPPER", "", false },
    };

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct env_var own[] = { { (char[]){ "FIRST" }, (char[]){ "x" } },
                                 { (char *)(uintptr_t)rows[i].name, (char *)(uintptr_t)rows[i].value } };
        struct fn_version version = { .runtime = (char *)(uintptr_t)rows[i].runtime,
                                      .vars = own,
                                      .var_count = 2 };
        const char *against = env_vars_against_clone(&version);

        if ((against != NULL) != rows[i].against)
            fail_msg("%s=%s", rows[i].name, rows[i].value);
        if (against)
            assert_string_equal(against, rows[i].name);
    }
}

static void test_a_version_with_a_template_asks_for_its_credentials(void **state)
{
    (void)state;
    static const struct fn_version kinds[] = { { .snap_start = true }, { .clean = true } };

    for (size_t i = 0; i < 2; i++) {
        struct env_vars vars = build_for(kinds[i], "nodejs20.x", false, NULL, 0);

        assert_string_equal(value_of(&vars, "AWS_LAMBDA_INITIALIZATION_TYPE"), "snap-start");
        assert_string_equal(value_of(&vars, "AWS_CONTAINER_CREDENTIALS_FULL_URI"),
                            "http://127.0.0.1:9001/2021-04-23/credentials");
        assert_string_equal(value_of(&vars, "AWS_CONTAINER_AUTHORIZATION_TOKEN"), "0123");
        assert_null(value_of(&vars, "AWS_ACCESS_KEY_ID"));
        assert_null(value_of(&vars, "AWS_SESSION_TOKEN"));
        assert_null(value_of(&vars, "IRORI_TEMPLATE"));
        env_vars_done(&vars);
    }
}

static void test_a_version_s_template_says_what_it_is_to_clients_of_ours(void **state)
{
    (void)state;
    struct fn_version kind = { .snap_start = true };
    struct env_vars vars = build_for(kind, "python3.11", true, NULL, 0);

    assert_string_equal(value_of(&vars, "IRORI_TEMPLATE"), "function");
    assert_string_equal(value_of(&vars, "UV_USE_IO_URING"), "0");
    env_vars_done(&vars);
    vars = build_for(kind, "provided.al2023", true, NULL, 0);
    assert_null(value_of(&vars, "IRORI_TEMPLATE"));
    assert_null(value_of(&vars, "LD_PRELOAD"));
    env_vars_done(&vars);
}

static void test_node_in_a_template_is_made_cheap_to_copy(void **state)
{
    (void)state;
    struct fn_version kind = { .snap_start = true };
    struct env_var own = { .name = (char[]){ "LD_PRELOAD" }, .value = (char[]){ "/var/task/own.so" } };
    struct env_vars vars = build_for(kind, "nodejs20.x", true, NULL, 0);

    assert_string_equal(value_of(&vars, "LD_PRELOAD"), "/var/runtime/lib/dense-heap.so");
    assert_string_equal(vars.argv[1], "--v8-pool-size=1");
    env_vars_done(&vars);
    vars = build_for(kind, "nodejs20.x", true, &own, 1);
    assert_string_equal(value_of(&vars, "LD_PRELOAD"), "/var/task/own.so");
    env_vars_done(&vars);
    vars = build_for(kind, "nodejs20.x", false, NULL, 0);
    assert_null(value_of(&vars, "LD_PRELOAD"));
    assert_string_equal(vars.argv[1], "/var/runtime/bootstrap.cjs");
    env_vars_done(&vars);
}

static void test_a_restored_clone_is_told_its_log_stream(void **state)
{
    (void)state;
    unsigned char seed[ENV_VARS_SEED_BYTES] = { 0xab };
    char *text = env_vars_restore("2026/01/15/[1]\"00", seed);

    assert_string_equal(text,
                        "{\"seed\":\"ab00000000000000000000000000000000000000000000000000000000000000\","
                        "\"env\":{\"AWS_LAMBDA_LOG_STREAM_NAME\":\"2026/01/15/[1]\\\"00\"}}");
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_node),
        cmocka_unit_test(test_python_sets_the_c_type_from_3_12_on),
        cmocka_unit_test(test_customers_may_override_some_and_not_others),
        cmocka_unit_test(test_as_many_as_the_limit_allows),
        cmocka_unit_test(test_a_template_knows_no_function),
        cmocka_unit_test(test_the_wake_up_message_carries_everything),
        cmocka_unit_test(test_a_version_with_a_template_asks_for_its_credentials),
        cmocka_unit_test(test_a_version_s_template_says_what_it_is_to_clients_of_ours),
        cmocka_unit_test(test_node_in_a_template_is_made_cheap_to_copy),
        cmocka_unit_test(test_a_restored_clone_is_told_its_log_stream),
        cmocka_unit_test(test_variables_that_a_clone_could_not_obey),
        cmocka_unit_test(test_wrapper_stands_in_front_of_managed_runtimes_only),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
