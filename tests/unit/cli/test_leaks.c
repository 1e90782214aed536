#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "cli/cli_priv.h"
#include "cli/leak_report.h"
#include "cli/leaks.h"

static const char event_a[] =
    "{\"q\":{\"name\":\"alice-secret\",\"page\":\"7\",\"who\":\"eve\",\"on\":true},\"same\":\"both-have-it\","
    "\"auth\":\"Bearer tok-1234567890\",\"body\":\"{\\\"card\\\":\\\"4012888888881881\\\"}\","
    "\"odd\":\"a&b=c d/e\",\"number\":123456789}";
static const char event_b[] =
    "{\"q\":{\"name\":\"bob\",\"token\":\"of-b-9876543210\"},\"same\":\"both-have-it\"}";

struct stage {
    struct leak_values values;
    cJSON *findings;
};

static int set_up(void **state)
{
    struct stage *stage = calloc(1, sizeof *stage);
    AUTO_JSON *a = cJSON_Parse(event_a), *b = cJSON_Parse(event_b);

    assert_int_equal(leak_values_read(a, b, &stage->values), 0);
    stage->findings = cJSON_CreateArray();
    *state = stage;
    return 0;
}

static int tear_down(void **state)
{
    struct stage *stage = *state;

    leak_values_done(&stage->values);
    cJSON_Delete(stage->findings);
    free(stage);
    return 0;
}

static void answer(struct stage *stage, const char *body)
{
    AUTO_JSON *leaves = leak_leaves(body, strlen(body));

    leak_in_answer(&stage->values, leaves, body, strlen(body), stage->findings);
}

static const cJSON *finding(const struct stage *stage, int at)
{
    return cJSON_GetArrayItem(stage->findings, at);
}

static void expect(const struct stage *stage, int at, const char *name, const char *text)
{
    assert_non_null(finding(stage, at));
    assert_string_equal(json_text(finding(stage, at), name, "none"), text);
}

static void expect_count(const struct stage *stage, int count)
{
    AUTO_FREE char *text = cJSON_Print(stage->findings);

    if (cJSON_GetArraySize(stage->findings) != count)
        fail_msg("not %d findings: %s", count, text);
    /* Whatever is told, no secret stands in it. */
    assert_null(strstr(text, "alice-secret"));
    assert_null(strstr(text, "tok-1234567890"));
    assert_null(strstr(text, "4012888888881881"));
    assert_null(strstr(text, "of-b-9876543210"));
}

static bool has_value(const struct stage *stage, const char *text, const char *from)
{
    for (size_t i = 0; i < stage->values.count; i++) {
        if (strcmp(stage->values.list[i].text, text) == 0)
            return strcmp(stage->values.list[i].from, from) == 0;
    }
    return false;
}

static void test_values_of_a(void **state)
{
    struct stage *stage = *state;

    assert_true(has_value(stage, "alice-secret", "$.q.name"));
    assert_true(has_value(stage, "tok-1234567890", "$.auth")); /* without the word in front */
    assert_true(has_value(stage, "4012888888881881", "$.body.card"));
    assert_true(has_value(stage, "123456789", "$.number"));
    assert_false(has_value(stage, "7", "$.q.page")); /* too short */
    assert_false(has_value(stage, "both-have-it", "$.same"));
}

static void test_masks(void **state)
{
    static const char *const pairs[][2] = { { "abcdef", "a***f" },
                                            { "abcdefghij", "abc***j" },
                                            { "abcdefghijklmnop", "abcd***nop" },
                                            { "\xc3\xa4zzzz", "***z" },
                                            { "zzzzz\xc3\xa4", "z***" } };

    (void)state;
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        AUTO_BUF struct buf out = BUF_INIT(100);

        leak_mask(pairs[i][0], &out);
        assert_string_equal(out.data, pairs[i][1]);
    }
}

static void test_an_answer_with_a_value(void **state)
{
    struct stage *stage = *state;

    answer(stage, "{\"body\":\"{\\\"last\\\":\\\"hello alice-secret\\\"}\"}");
    expect_count(stage, 1);
    expect(stage, 0, "kind", "value");
    expect(stage, 0, "level", "leak");
    expect(stage, 0, "where", "$.body.last");
    expect(stage, 0, "from", "$.q.name");
    expect(stage, 0, "value", "ali***t");
    answer(stage, "{\"body\":\"{\\\"last\\\":\\\"hello alice-secret\\\"}\"}"); /* once is enough */
    expect_count(stage, 1);
    assert_true(leak_any(stage->findings, "leak"));
    assert_false(leak_any(stage->findings, "left"));
}

static void test_an_answer_with_another_form_of_it(void **state)
{
    struct stage *stage = *state;

    answer(stage, "{\"x\":\"YWxpY2Utc2VjcmV0\",\"y\":\"a%26b%3Dc%20d%2Fe\"}");
    expect_count(stage, 2);
    expect(stage, 0, "form", "base64");
    expect(stage, 1, "form", "URL-encoded");
    expect(stage, 1, "from", "$.odd");
}

static void test_a_body_in_base64(void **state)
{
    struct stage *stage = *state;

    answer(stage, "{\"isBase64Encoded\":true,\"body\":\"eyJ4IjoiaGVsbG8gYWxpY2Utc2VjcmV0In0=\"}");
    expect_count(stage, 1);
    expect(stage, 0, "where", "$.body.x");
    expect(stage, 0, "form", "");
}

static void test_a_key_and_a_text_that_is_no_json(void **state)
{
    struct stage *stage = *state;

    answer(stage, "{\"alice-secret\":1}");
    answer(stage, "no JSON: alice-secret");
    expect_count(stage, 2);
    expect(stage, 0, "where", "$.ali***t");
    expect(stage, 1, "where", "$");
}

static void test_the_longest_match_only(void **state)
{
    struct stage *stage = *state;

    answer(stage, "[\"Bearer tok-1234567890\"]");
    expect_count(stage, 1);
    expect(stage, 0, "value", "Bear***890");
    answer(stage, "[0,\"tok-1234567890\"]");
    expect_count(stage, 2);
    expect(stage, 1, "where", "$[1]");
    expect(stage, 1, "from", "$.auth");
}

static void test_what_fresh_ones_have_is_not_of_a(void **state)
{
    struct stage *stage = *state;

    leak_values_forget(&stage->values, "xx alice-secret", 15);
    answer(stage, "\"alice-secret\"");
    expect_count(stage, 0);
}

static void test_a_line_of_the_log(void **state)
{
    struct stage *stage = *state;

    leak_in_log(&stage->values, "INFO before: alice-secret and 4012888888881881 end", stage->findings);
    expect_count(stage, 2);
    expect(stage, 0, "where", "INFO before: ali***t and 4012***881 end");
    expect(stage, 0, "place", "log");
    leak_in_log(&stage->values, "again alice-secret", stage->findings);
    expect_count(stage, 2);
}

static void test_a_long_line_is_cut_around_it(void **state)
{
    struct stage *stage = *state;
    char line[4000];

    memset(line, 'x', sizeof line);
    memcpy(line + 2000, "alice-secret", 12);
    line[sizeof line - 1] = '\0';
    leak_in_log(&stage->values, line, stage->findings);
    expect_count(stage, 1);
    assert_true(strlen(json_text(finding(stage, 0), "where", "")) < 300);
    assert_non_null(strstr(json_text(finding(stage, 0), "where", ""), "xali***tx"));
}

static void test_files(void **state)
{
    struct stage *stage = *state;
    size_t name = 0;
    char text[200];
    AUTO_JSON *json = NULL;

    while (strcmp(stage->values.needles[name].text, "alice-secret") != 0)
        name++;
    (void)snprintf(
        text, sizeof text,
        "{\"files\":[{\"path\":\"a/b\",\"bytes\":3,\"values\":[%zu,999999,-1,\"x\"]},{\"path\":\"c\","
        "\"values\":[]}]}",
        name);
    json = cJSON_Parse(text);
    leak_in_files(&stage->values, json, stage->findings);
    expect_count(stage, 1);
    expect(stage, 0, "where", "/tmp/a/b");
    expect(stage, 0, "level", "left");
    leak_forget_files(&stage->values, json);
    leak_in_files(&stage->values, json, stage->findings);
    expect_count(stage, 1);
}

static void differ(struct stage *stage, const char *fresh, const char *other, const char *used)
{
    AUTO_JSON *first = leak_leaves(fresh, strlen(fresh)), *second = leak_leaves(other, strlen(other)),
              *third = leak_leaves(used, strlen(used));

    leak_differences(&stage->values, first, second, third, stage->findings);
}

static void test_differences(void **state)
{
    struct stage *stage = *state;

    differ(stage, "{\"n\":1,\"t\":5,\"x\":\"y\"}", "{\"n\":1,\"t\":6,\"x\":\"y\"}",
           "{\"n\":2,\"t\":7,\"x\":\"y\"}");
    expect_count(stage, 1);
    expect(stage, 0, "where", "$.n");
    expect(stage, 0, "fresh", "1");
    expect(stage, 0, "used", "2");
    differ(stage, "{\"n\":1,\"gone\":1}", "{\"n\":1,\"gone\":1}", "{\"n\":1,\"more\":1}");
    expect_count(stage, 3);
    expect(stage, 1, "where", "$.gone");
    expect(stage, 2, "where", "$.more");
    differ(stage, "{\"n\":\"x\"}", "{\"n\":\"x\"}", "{\"n\":\"alice-secret\"}"); /* told as a value */
    expect_count(stage, 3);
}

static void test_short_values_where_the_answer_changes(void **state)
{
    struct stage *stage = *state;

    answer(stage, "{\"last\":\"eve\"}"); /* by itself it may be a word like any other */
    differ(stage, "{\"x\":\"the eve of\"}", "{\"x\":\"the eve of\"}", "{\"x\":\"on eve of\"}");
    expect_count(stage, 1);
    expect(stage, 0, "kind", "difference");
    differ(stage, "{\"x\":\"\"}", "{\"x\":\"\"}", "{\"x\":\"seventh\"}");
    expect_count(stage, 2);
    expect(stage, 1, "kind", "difference");
    differ(stage, "{\"x\":false}", "{\"x\":false}", "{\"x\":true}");
    expect_count(stage, 3);
    assert_false(leak_any(stage->findings, "leak"));
    differ(stage, "{\"last\":null}", "{\"last\":null}", "{\"last\":\"hello, eve!\"}");
    expect_count(stage, 4);
    expect(stage, 3, "kind", "value");
    expect(stage, 3, "level", "leak");
    expect(stage, 3, "from", "$.q.who");
    expect(stage, 3, "value", "e***e");
    differ(stage, "{}", "{}", "{\"new\":\"eve\"}");
    expect_count(stage, 5);
    expect(stage, 4, "where", "$.new");
}

static void test_values_of_b_are_masked_too(void **state)
{
    struct stage *stage = *state;
    AUTO_BUF struct buf out = BUF_INIT(1000);

    leak_excerpt(&stage->values, "failed for of-b-9876543210 after alice-secret", &out);
    assert_string_equal(out.data, "failed for of-***0 after ali***t");
    differ(stage, "{\"x\":\"of-b-9876543210\"}", "{\"x\":\"of-b-9876543210\"}", "{\"x\":\"y\"}");
    expect_count(stage, 1);
    expect(stage, 0, "fresh", "of-***0");
}

static void test_more_values_than_can_be_looked_for(void **state)
{
    AUTO_JSON *a = cJSON_CreateArray(), *b = cJSON_CreateArray();
    struct leak_values values;
    char text[32];

    (void)state;
    for (int i = 0; i < 301; i++) {
        (void)snprintf(text, sizeof text, "value-%05d", i);
        (void)cJSON_AddItemToArray(a, cJSON_CreateString(text));
        if (i == 299) {
            assert_int_equal(leak_values_read(a, b, &values), 0);
            assert_false(values.truncated);
            leak_values_done(&values);
        }
    }
    assert_int_equal(leak_values_read(a, b, &values), 0);
    assert_true(values.truncated);
    leak_values_done(&values);
}

static void test_keys_that_vary_by_themselves(void **state)
{
    struct stage *stage = *state;

    differ(stage, "{\"by\":{\"id1\":1},\"n\":1}", "{\"by\":{\"id2\":1},\"n\":1}",
           "{\"by\":{\"id3\":1},\"n\":1}");
    expect_count(stage, 0);
}

static void test_shared_random_values(void **state)
{
    struct stage *stage = *state;
    static const char text[] =
        "{\"id\":\"0b2e9c1a-7d1f-4c55-9a40-4de1d2f3a9b7\",\"word\":\"internationalization\","
        "\"date\":\"2026-11-25T19:00:00.000Z\",\"r\":0.123456789012345,\"n\":12}";
    AUTO_JSON *leaves = leak_leaves(text, strlen(text)), *other = leak_leaves("{\"id\":\"x\"}", 10);
    AUTO_JSON *event = cJSON_Parse("{}"),
              *given = cJSON_Parse("[\"0b2e9c1a-7d1f-4c55-9a40-4de1d2f3a9b7\",\"0.123456789012345\"]");

    leak_shared_random(leaves, other, event, stage->findings);
    leak_shared_random(leaves, leaves, given, stage->findings);
    expect_count(stage, 0);
    leak_shared_random(leaves, leaves, event, stage->findings);
    expect_count(stage, 2);
    expect(stage, 0, "where", "$.id");
    expect(stage, 0, "level", "note");
    expect(stage, 1, "where", "$.r");
}

#define PROCESS(name, descriptors) \
    "{\"pid\":2,\"name\":\"" name "\",\"residentBytes\":100,\"descriptors\":[" descriptors "]}"
#define SEEN(processes, files) "{\"processes\":[" processes "],\"files\":[" files "]}"
#define FD(kind, path)         "{\"fd\":3,\"kind\":\"" kind "\",\"path\":\"" path "\"}"
#define PEER(peer) \
    "{\"fd\":3,\"kind\":\"socket\",\"path\":\"socket:[1]\",\"connected\":true,\"peer\":\"" peer "\"}"
#define FILE_(path) "{\"path\":\"" path "\",\"bytes\":5,\"values\":[]}"

static void left(struct stage *stage, const char *fresh, const char *after_a, const char *used)
{
    AUTO_JSON *first = cJSON_Parse(fresh), *second = cJSON_Parse(after_a), *third = cJSON_Parse(used);

    assert_true(first && second && third);
    leak_left(&stage->values, first, second, third, stage->findings);
}

static void test_nothing_left(void **state)
{
    struct stage *stage = *state;
    /* One file of its own per environment, and one connection to the Runtime API. */
    static const char fresh[] =
        SEEN(PROCESS("node", FD("file", "/tmp/r1") "," PEER("127.0.0.1:9001")), FILE_("r1"));
    static const char used[] =
        SEEN(PROCESS("node", FD("file", "/tmp/r2") "," PEER("127.0.0.1:9001")), FILE_("r2"));

    left(stage, fresh, used, used);
    expect_count(stage, 0);
}

static void test_things_left(void **state)
{
    struct stage *stage = *state;
    static const char fresh[] = SEEN(PROCESS("node", FD("pipe", "pipe:[1]")), FILE_("r1"));
    static const char after_a[] = SEEN(PROCESS("node", ""), FILE_("r2"));
    static const char used[] = SEEN(PROCESS("node", FD("pipe", "pipe:[7]") "," FD("pipe", "pipe:[8]") "," FD(
                                                        "file", "/x")) "," PROCESS("sleep", ""),
                                    FILE_("r2") "," FILE_("r3"));

    left(stage, fresh, after_a, used);
    expect_count(stage, 4);
    expect(stage, 0, "path", "r2");
    expect(stage, 1, "what", "pipe");
    expect(stage, 2, "what", "/x");
    expect(stage, 3, "name", "sleep");
    for (int i = 0; i < 4; i++)
        expect(stage, i, "level", "left");
}

static void test_names_are_masked(void **state)
{
    struct stage *stage = *state;
    static const char none[] = SEEN(PROCESS("node", ""), "");
    static const char used[] =
        SEEN(PROCESS("node", FD("file", "/tmp/alice-secret")) "," PROCESS("alice-secret", ""),
             FILE_("alice-secret"));

    left(stage, none, used, used);
    expect_count(stage, 3);
    expect(stage, 0, "path", "ali***t");
}

static void test_a_connection_is_a_note(void **state)
{
    struct stage *stage = *state;
    static const char none[] = SEEN(PROCESS("node", ""), ""),
                      one[] = SEEN(PROCESS("node", PEER("10.0.0.1:5432")), "");

    left(stage, none, one, one);
    expect_count(stage, 1);
    expect(stage, 0, "kind", "connection");
    expect(stage, 0, "level", "note");
    expect(stage, 0, "peer", "10.0.0.1:5432");
}

static void grow(struct stage *stage, double a, double b, double c)
{
    const double sizes[] = { a, b, c };
    cJSON *seen[3];

    for (size_t i = 0; i < 3; i++) {
        char text[200];

        (void)snprintf(text, sizeof text,
                       "{\"processes\":[{\"residentBytes\":%.0f,\"descriptors\":[]}],\"files\":[]}",
                       sizes[i]);
        seen[i] = cJSON_Parse(text);
    }
    leak_growth(seen[0], seen[1], seen[2], 4, stage->findings);
    for (size_t i = 0; i < 3; i++)
        cJSON_Delete(seen[i]);
}

static void test_growth(void **state)
{
    struct stage *stage = *state;

    grow(stage, 40e6, 44e6, 44e6);   /* once */
    grow(stage, 40e6, 40.5e6, 41e6); /* little */
    expect_count(stage, 0);
    grow(stage, 40e6, 44e6, 48e6);
    expect_count(stage, 1);
    expect(stage, 0, "kind", "memory");
    assert_true(json_number(finding(stage, 0), "bytesPerRequest", 0) == 1e6);
}

static void test_made_up_events(void **state)
{
    AUTO_JSON *a = leak_event(), *b = leak_event();
    struct leak_values values;

    (void)state;
    assert_int_equal(leak_values_read(a, b, &values), 0);
    assert_true(values.count > 12);
    assert_false(values.truncated);
    leak_values_done(&values);
}

static void test_odd_events(void **state)
{
    static const char *const texts[] = { "null", "[]", "{}", "\"\"", "[[[[\"\"]]]]", "{\"\":{\"\":\"\"}}" };

    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        AUTO_JSON *json = cJSON_Parse(texts[i]);
        struct leak_values values;

        assert_int_equal(leak_values_read(json, json, &values), 0);
        assert_int_equal(values.count, 0);
        leak_values_done(&values);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_values_of_a),
        TEST(test_masks),
        TEST(test_an_answer_with_a_value),
        TEST(test_an_answer_with_another_form_of_it),
        TEST(test_a_body_in_base64),
        TEST(test_a_key_and_a_text_that_is_no_json),
        TEST(test_the_longest_match_only),
        TEST(test_what_fresh_ones_have_is_not_of_a),
        TEST(test_a_line_of_the_log),
        TEST(test_a_long_line_is_cut_around_it),
        TEST(test_files),
        TEST(test_differences),
        TEST(test_short_values_where_the_answer_changes),
        TEST(test_values_of_b_are_masked_too),
        TEST(test_more_values_than_can_be_looked_for),
        TEST(test_keys_that_vary_by_themselves),
        TEST(test_shared_random_values),
        TEST(test_nothing_left),
        TEST(test_things_left),
        TEST(test_names_are_masked),
        TEST(test_a_connection_is_a_note),
        TEST(test_growth),
        TEST(test_made_up_events),
        TEST(test_odd_events),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
