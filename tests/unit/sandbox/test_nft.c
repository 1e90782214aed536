#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "sandbox/nft.h"
#include "sandbox/sysctl_guard.h"

static struct nft_plan *a_plan(void)
{
    struct nft_plan *plan = test_calloc(1, sizeof *plan);

    plan->instance = "abcdefgh";
    memcpy(plan->link, "irori-abcdefgh", sizeof "irori-abcdefgh");
    plan->router_address = 0xc6130002;
    return plan;
}

static char *host_text(const struct nft_plan *plan)
{
    struct buf out = BUF_INIT(NFT_TEXT_MAX);

    assert_int_equal(nft_write_host(plan, &out), 0);
    return buf_take(&out, NULL);
}

static void a_service_is_opened_and_translated_once(void **state)
{
    struct nft_plan *plan = a_plan();
    struct nft_service service = { 0xc612fe0a, 5432, false, true, 0x7f000001, 5432 };
    AUTO_FREE char *text = NULL;

    (void)state;
    assert_true(nft_plan_add(plan, service));
    service.to_address = 0x7f000002;
    assert_false(nft_plan_add(plan, service));
    text = host_text(plan);
    assert_non_null(strstr(
        text, "meta l4proto tcp ct original ip daddr 198.18.254.10 ct original proto-dst 5432 accept"));
    assert_non_null(strstr(
        text, "iifname \"irori-abcdefgh\" ip daddr 198.18.254.10 tcp dport 5432 dnat ip to 127.0.0.1:5432"));
    assert_null(strstr(text, "127.0.0.2"));
    test_free(plan);
}

static void own_subnets_are_refused_on_both_sides(void **state)
{
    struct nft_plan *plan = a_plan();
    AUTO_BUF struct buf router = BUF_INIT(NFT_TEXT_MAX);
    AUTO_FREE char *text = NULL;

    (void)state;
    plan->own[plan->own_count++] = (struct nl_range){ 0xcb007100, 24 };
    text = host_text(plan);
    assert_int_equal(nft_write_router(plan, &router), 0);
    assert_non_null(strstr(text, "elements = { 203.0.113.0/24 }"));
    assert_non_null(strstr(router.data, "elements = { 203.0.113.0/24 }"));
    test_free(plan);
}

static void functions_share_half_of_the_hosts_connections(void **state)
{
    static const char rule[] = "ct state new add @connections { th sport & 15 ct count over 8192 } reject "
                               "with icmpx admin-prohibited\n";
    struct nft_plan *plan = a_plan();
    AUTO_FREE char *text = NULL, *unknown = host_text(plan);
    const char *forward, *input;

    (void)state;
    plan->table_entries = 262144;
    text = host_text(plan);
    input = strstr(strstr(text, "chain input"), rule);
    forward = strstr(text, "chain forward");
    assert_true(input && input < strstr(text, "    jump services\n    reject") && input < forward);
    assert_true(strstr(forward, rule) && strstr(forward, rule) < strstr(forward, "jump outbound"));
    assert_non_null(strstr(unknown, "ct count over 2048"));
    test_free(plan);
}

/* The guard's verdict line for a state. */
static bool guard_says(const struct guard_state *before, const char *line)
{
    struct nft_plan *plan = a_plan();
    AUTO_FREE char *text = NULL;

    plan->before = before;
    text = host_text(plan);
    test_free(plan);
    return strstr(text, line) != NULL;
}

static void only_what_forwarded_before_goes_on_forwarding(void **state)
{
    struct guard_device none[] = { { "eth0", false } }, some[] = { { "eth0", false }, { "docker0", true } };
    struct guard_device odd[] = { { "a\"b", true } }, all[] = { { "eth0", true } };

    (void)state;
    assert_true(guard_says(&(struct guard_state){ false, false, 1, none }, "    drop\n  }\n"));
    assert_true(
        guard_says(&(struct guard_state){ false, false, 2, some }, "iifname != { \"docker0\" } drop"));
    assert_true(guard_says(&(struct guard_state){ false, true, 2, some }, "iifname { \"eth0\" } drop"));
    assert_true(guard_says(&(struct guard_state){ false, false, 1, odd }, "    drop\n  }\n"));
    assert_false(guard_says(&(struct guard_state){ true, true, 1, all }, "iifname \"irori-*\" accept"));
}

static void ranges_overlap_when_one_holds_the_other(void **state)
{
    const struct nl_range wide = { 0xc6120000, 15 }, narrow = { 0xc6130004, 30 }, other = { 0xc6140000, 30 };

    (void)state;
    assert_true(nl_range_overlaps(wide, narrow));
    assert_true(nl_range_overlaps(narrow, wide));
    assert_false(nl_range_overlaps(wide, other));
    assert_true(nl_range_overlaps((struct nl_range){ 0, 0 }, other));
}

static void guard_state_survives_writing_and_reading(void **state)
{
    struct guard_device devices[] = { { "eth0", false }, { "a-very-long-dev", true } };
    const struct guard_state before = { true, false, 2, devices };
    struct guard_state after;
    AUTO_BUF struct buf text = BUF_INIT(4096);

    (void)state;
    assert_int_equal(guard_state_write(&before, &text), 0);
    assert_int_equal(guard_state_read(text.data, text.len, &after), 0);
    assert_true(after.all);
    assert_false(after.by_default);
    assert_int_equal(after.count, 2);
    assert_string_equal(after.devices[1].name, "a-very-long-dev");
    assert_true(after.devices[1].forwarding);
    guard_state_done(&after);
}

static void a_broken_guard_state_is_refused(void **state)
{
    static const char *const wrong[] = { "eth0 1",  "eth0 2\n",   "eth0\n",
                                         " 1\n",    "../x 1\n",   "far-too-long-name 1\n",
                                         "a b 1\n", "eth0 1\n\n", "eth0 11\n" };
    struct guard_state after;

    (void)state;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        assert_true(guard_state_read(wrong[i], strlen(wrong[i]), &after) < 0);
}

static void a_firewall_that_drops_forwarding_is_found(void **state)
{
    static const char ours[] = "table inet irori_abcdefgh {\n\tchain forward {\n"
                               "\t\ttype filter hook forward priority filter; policy drop;\n\t}\n}\n";
    static const char theirs[] =
        "table ip filter {\n\tchain INPUT {\n"
        "\t\ttype filter hook input priority filter; policy drop;\n\t}\n"
        "\tchain FORWARD {\n\t\ttype filter hook forward priority filter; policy drop;\n";
    char name[NFT_CHAIN_BYTES];

    (void)state;
    assert_false(nft_parse_dropping_chain("", name));
    assert_false(nft_parse_dropping_chain(ours, name));
    assert_true(nft_parse_dropping_chain(theirs, name));
    assert_string_equal(name, "ip filter FORWARD");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_service_is_opened_and_translated_once),
        cmocka_unit_test(own_subnets_are_refused_on_both_sides),
        cmocka_unit_test(functions_share_half_of_the_hosts_connections),
        cmocka_unit_test(only_what_forwarded_before_goes_on_forwarding),
        cmocka_unit_test(ranges_overlap_when_one_holds_the_other),
        cmocka_unit_test(guard_state_survives_writing_and_reading),
        cmocka_unit_test(a_broken_guard_state_is_refused),
        cmocka_unit_test(a_firewall_that_drops_forwarding_is_found),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
