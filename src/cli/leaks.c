#include "cli/leaks.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/text.h"
#include "cli/cli_priv.h"

enum {
    LISTED_MAX = 10,
    GROWTH_BYTES = 256 * 1024, /* a request */
};

/* ---- findings ---- */

static cJSON *add(cJSON *findings, const char *kind, const char *level)
{
    cJSON *finding = cJSON_CreateObject();

    (void)cJSON_AddStringToObject(finding, "kind", kind);
    (void)cJSON_AddStringToObject(finding, "level", level);
    (void)cJSON_AddItemToArray(findings, finding);
    return finding;
}

__attribute__((format(printf, 2, 3))) static void say(cJSON *finding, const char *format, ...)
{
    AUTO_BUF struct buf text = BUF_INIT(16384);
    va_list args;

    va_start(args, format);
    (void)buf_vprintf(&text, format, args);
    va_end(args);
    (void)cJSON_AddStringToObject(finding, "text", text.data ? text.data : "");
}

bool leak_any(const cJSON *findings, const char *level)
{
    const cJSON *finding;

    cJSON_ArrayForEach(finding, findings)
    {
        if (strcmp(json_text(finding, "level", ""), level) == 0)
            return true;
    }
    return false;
}

static const char *text_of(const struct buf *buf)
{
    return buf->data ? buf->data : "";
}

/* ---- values that came back ---- */

/* The needles that stand in the text, without those that are only part of another one there. Returns how
 * many; hits has needle_count places. */
static size_t drop_parts(const struct leak_values *values, bool *hits)
{
    size_t count = 0;

    for (size_t i = 0; i < values->needle_count; i++) {
        bool whole_stands = false;

        for (size_t k = 0; hits[i] && k < values->needle_count; k++) {
            const char *part = values->needles[i].text, *whole = values->needles[k].text;

            whole_stands =
                whole_stands || (k != i && hits[k] && strlen(whole) > strlen(part) && strstr(whole, part));
        }
        hits[i] = hits[i] && !whole_stands;
        count += hits[i];
    }
    return count;
}

static size_t scan(const struct leak_values *values, const char *text, size_t len, bool *hits)
{
    for (size_t i = 0; i < values->needle_count; i++) {
        const struct leak_needle *needle = &values->needles[i];

        hits[i] = !values->list[needle->value].known && memmem(text, len, needle->text, strlen(needle->text));
    }
    return drop_parts(values, hits);
}

static bool same_text(const cJSON *finding, const char *name, const char *text)
{
    return strcmp(json_text(finding, name, ""), text) == 0;
}

/* where: NULL when the place is enough to know it by. */
static bool is_reported(const cJSON *findings, const char *place, const char *where, const char *from)
{
    const cJSON *finding;

    cJSON_ArrayForEach(finding, findings)
    {
        if (same_text(finding, "place", place) && same_text(finding, "from", from) &&
            (!where || same_text(finding, "where", where)))
            return true;
    }
    return false;
}

static void add_value_finding(const struct leak_values *values, const struct leak_needle *needle,
                              const char *place, const char *where, cJSON *findings)
{
    const struct leak_value *value = &values->list[needle->value];
    bool in_log = strcmp(place, "log") == 0, in_tmp = strcmp(place, "tmp") == 0;
    AUTO_BUF struct buf masked = BUF_INIT(4096), shown = BUF_INIT(4096);
    cJSON *finding;

    leak_excerpt(values, where, &shown);
    if (is_reported(findings, place, in_log ? NULL : text_of(&shown), value->from))
        return;
    finding = add(findings, "value", in_tmp ? "left" : "leak");
    leak_mask(value->text, &masked);
    (void)cJSON_AddStringToObject(finding, "place", place);
    (void)cJSON_AddStringToObject(finding, "where", text_of(&shown));
    (void)cJSON_AddStringToObject(finding, "from", value->from);
    (void)cJSON_AddStringToObject(finding, "value", text_of(&masked));
    (void)cJSON_AddStringToObject(finding, "form", needle->form);
    say(finding, "%s of A (%s%s%s) %s %s", value->from, text_of(&masked), *needle->form ? ", " : "",
        needle->form,
        in_log   ? "was logged after A was done:"
        : in_tmp ? "stands in"
                 : "came back in the answer to B at",
        text_of(&shown));
}

static void report_hits(const struct leak_values *values, const bool *hits, const char *place,
                        const char *where, cJSON *findings)
{
    for (size_t i = 0; i < values->needle_count; i++) {
        if (hits[i])
            add_value_finding(values, &values->needles[i], place, where, findings);
    }
}

static bool *new_hits(const struct leak_values *values)
{
    return calloc(values->needle_count + 1, sizeof(bool));
}

void leak_in_answer(const struct leak_values *values, const cJSON *leaves, const char *body, size_t len,
                    cJSON *findings)
{
    AUTO_FREE bool *hits = new_hits(values);
    const cJSON *leaf;
    size_t found = 0;

    if (!hits)
        return;
    cJSON_ArrayForEach(leaf, leaves)
    {
        size_t here = scan(values, leaf->valuestring, strlen(leaf->valuestring), hits);

        if (here == 0)
            here = scan(values, leaf->string, strlen(leaf->string), hits);
        if (here > 0)
            report_hits(values, hits, "answer", leaf->string, findings);
        found += here;
    }
    if (found == 0 && scan(values, body, len, hits) > 0)
        report_hits(values, hits, "answer", "$", findings);
}

void leak_in_log(const struct leak_values *values, const char *line, cJSON *findings)
{
    AUTO_FREE bool *hits = new_hits(values);

    if (hits && scan(values, line, strlen(line), hits) > 0)
        report_hits(values, hits, "log", line, findings);
}

static const cJSON *list_of(const cJSON *inspection, const char *name)
{
    return cJSON_GetObjectItemCaseSensitive(inspection, name);
}

/* An index of a needle, from the server. Returns whether it is one. */
static bool needle_of(const struct leak_values *values, const cJSON *index, size_t *ret)
{
    if (!cJSON_IsNumber(index) || index->valuedouble < 0 ||
        index->valuedouble >= (double)values->needle_count)
        return false;
    *ret = (size_t)index->valuedouble;
    return true;
}

void leak_forget_files(struct leak_values *values, const cJSON *fresh)
{
    const cJSON *file, *index;
    size_t i;

    cJSON_ArrayForEach(file, list_of(fresh, "files"))
    {
        cJSON_ArrayForEach(index, list_of(file, "values"))
        {
            if (needle_of(values, index, &i))
                values->list[values->needles[i].value].known = true;
        }
    }
}

void leak_in_files(const struct leak_values *values, const cJSON *used, cJSON *findings)
{
    AUTO_FREE bool *hits = new_hits(values);
    const cJSON *file, *index;
    size_t i;

    if (!hits)
        return;
    cJSON_ArrayForEach(file, list_of(used, "files"))
    {
        AUTO_BUF struct buf path = BUF_INIT(8192);

        memset(hits, 0, values->needle_count * sizeof *hits);
        cJSON_ArrayForEach(index, list_of(file, "values"))
        {
            if (needle_of(values, index, &i))
                hits[i] = !values->list[values->needles[i].value].known;
        }
        (void)buf_printf(&path, "/tmp/%s", json_text(file, "path", ""));
        if (drop_parts(values, hits) > 0)
            report_hits(values, hits, "tmp", text_of(&path), findings);
    }
}

/* ---- answers that differ ---- */

static const char *leaf_at(const cJSON *leaves, const char *path)
{
    return json_text(leaves, path, NULL);
}

static size_t parent_length(const char *path)
{
    const char *dot = strrchr(path, '.'), *bracket = strrchr(path, '[');
    const char *last = !dot || (bracket && bracket > dot) ? bracket : dot;

    return last ? (size_t)(last - path) : strlen(path);
}

/* Whether something beside this path is in one of the two and not in the other: keys that vary by
 * themselves. */
static bool siblings_vary(const cJSON *fresh, const cJSON *other, const char *path)
{
    size_t len = parent_length(path);
    const cJSON *leaf;

    cJSON_ArrayForEach(leaf, fresh)
    {
        if (parent_length(leaf->string) == len && strncmp(leaf->string, path, len) == 0 &&
            !leaf_at(other, leaf->string))
            return true;
    }
    return false;
}

static void add_difference(const struct leak_values *values, const char *path, const char *fresh,
                           const char *used, cJSON *findings)
{
    AUTO_BUF struct buf was = BUF_INIT(8192), is = BUF_INIT(8192), where = BUF_INIT(8192);
    cJSON *finding;

    leak_excerpt(values, path, &where);
    leak_excerpt(values, fresh ? fresh : "", &was);
    leak_excerpt(values, used ? used : "", &is);
    finding = add(findings, "difference", "left");
    (void)cJSON_AddStringToObject(finding, "where", text_of(&where));
    (void)cJSON_AddItemToObject(finding, "fresh",
                                fresh ? cJSON_CreateString(text_of(&was)) : cJSON_CreateNull());
    (void)cJSON_AddItemToObject(finding, "used",
                                used ? cJSON_CreateString(text_of(&is)) : cJSON_CreateNull());
    if (!fresh)
        say(finding, "the answer to B has %s after A (\"%s\"), and not in a fresh environment",
            text_of(&where), text_of(&is));
    else if (!used)
        say(finding, "the answer to B has no %s after A, and \"%s\" in a fresh environment", text_of(&where),
            text_of(&was));
    else
        say(finding, "the answer to B differs at %s: \"%s\" after A, \"%s\" in a fresh environment",
            text_of(&where), text_of(&is), text_of(&was));
}

static bool is_letter(unsigned char c)
{
    return isalnum(c) || c >= 0x80;
}

/* Not as a part of a longer word. */
static bool has_word(const char *text, const char *word)
{
    size_t len = strlen(word);
    const char *at = text;

    while ((at = strstr(at, word))) {
        if ((at == text || !is_letter((unsigned char)at[-1])) && !is_letter((unsigned char)at[len]))
            return true;
        at++;
    }
    return false;
}

/* Short values of A that stand where fresh environments answer something else. fresh: "" when they answer
 * nothing there. Returns how many. */
static size_t brief_in_difference(const struct leak_values *values, const char *path, const char *fresh,
                                  const char *used, cJSON *findings)
{
    size_t count = 0;

    for (size_t i = 0; i < values->count; i++) {
        const struct leak_needle word = { values->list[i].text, "", i };

        if (!values->list[i].brief || !has_word(used, word.text) || has_word(fresh, word.text))
            continue;
        add_value_finding(values, &word, "answer", path, findings);
        count++;
    }
    return count;
}

static size_t difference_count(const cJSON *findings)
{
    const cJSON *finding;
    size_t count = 0;

    cJSON_ArrayForEach(finding, findings) count += same_text(finding, "kind", "difference");
    return count;
}

void leak_differences(const struct leak_values *values, const cJSON *fresh, const cJSON *other,
                      const cJSON *used, cJSON *findings)
{
    AUTO_FREE bool *hits = new_hits(values);
    const cJSON *leaf;

    cJSON_ArrayForEach(leaf, fresh)
    {
        const char *second = leaf_at(other, leaf->string), *third = leaf_at(used, leaf->string);

        if (difference_count(findings) == LISTED_MAX)
            return;
        if (!second || strcmp(second, leaf->valuestring) != 0 ||
            (third && strcmp(third, leaf->valuestring) == 0))
            continue;
        /* That is told already. */
        if (third && hits && scan(values, third, strlen(third), hits) > 0)
            continue;
        if (third && brief_in_difference(values, leaf->string, leaf->valuestring, third, findings) > 0)
            continue;
        add_difference(values, leaf->string, leaf->valuestring, third, findings);
    }
    cJSON_ArrayForEach(leaf, used)
    {
        if (difference_count(findings) == LISTED_MAX)
            return;
        if (leaf_at(fresh, leaf->string) || leaf_at(other, leaf->string) ||
            siblings_vary(fresh, other, leaf->string))
            continue;
        if (hits && scan(values, leaf->valuestring, strlen(leaf->valuestring), hits) > 0)
            continue;
        if (brief_in_difference(values, leaf->string, "", leaf->valuestring, findings) > 0)
            continue;
        add_difference(values, leaf->string, NULL, leaf->valuestring, findings);
    }
}

/* A number of Math.random(), a UUID, a token: nothing that words or dates are made of. */
static bool looks_random(const char *text)
{
    bool seen[128] = { 0 };
    size_t digits = 0, letters = 0, distinct = 0, len = strlen(text);

    if (len < 14 || len > 256)
        return false;
    if (text_starts(text, "0."))
        return strspn(text + 2, "0123456789") == len - 2;
    for (const char *at = text; *at; at++) {
        unsigned char c = (unsigned char)*at;

        if (!isalnum(c) && !strchr("-_+/=", c))
            return false;
        if (c < 128 && !seen[c])
            distinct++;
        seen[c & 127] = true;
        digits += isdigit(c) != 0;
        letters += isalpha(c) != 0;
    }
    return digits >= 3 && letters >= 3 && distinct >= 9;
}

void leak_shared_random(const cJSON *fresh, const cJSON *other, const cJSON *event, cJSON *findings)
{
    AUTO_JSON *given = leak_leaves_of_event(event);
    const cJSON *leaf;

    cJSON_ArrayForEach(leaf, fresh)
    {
        const char *second = leaf_at(other, leaf->string);
        AUTO_BUF struct buf masked = BUF_INIT(4096);
        cJSON *finding;

        if (!second || strcmp(second, leaf->valuestring) != 0 || !looks_random(leaf->valuestring) ||
            leak_stands_in(given, leaf->valuestring))
            continue;
        leak_mask(leaf->valuestring, &masked);
        finding = add(findings, "random", "note");
        (void)cJSON_AddStringToObject(finding, "where", leaf->string);
        (void)cJSON_AddStringToObject(finding, "value", text_of(&masked));
        say(finding,
            "two fresh environments answered the same %s at %s: if it is to be random or unique, it is made "
            "too early (see hooks in templates.md)",
            text_of(&masked), leaf->string);
    }
}

/* ---- what lies about ---- */

static bool has_file(const cJSON *inspection, const char *path)
{
    const cJSON *file;

    cJSON_ArrayForEach(file, list_of(inspection, "files"))
    {
        if (same_text(file, "path", path))
            return true;
    }
    return false;
}

/* Names may vary by themselves, so what counts is whether there are more new ones than the fresh one has. */
static void left_files(const struct leak_values *values, const cJSON *fresh, const cJSON *after_a,
                       const cJSON *used, cJSON *findings)
{
    int excess = 0, listed = 0;
    const cJSON *file;

    cJSON_ArrayForEach(file, list_of(used, "files")) excess += !has_file(fresh, json_text(file, "path", ""));
    cJSON_ArrayForEach(file, list_of(fresh, "files")) excess -= !has_file(used, json_text(file, "path", ""));
    cJSON_ArrayForEach(file, list_of(used, "files"))
    {
        const char *path = json_text(file, "path", "");
        AUTO_BUF struct buf shown = BUF_INIT(8192);
        cJSON *finding;

        if (listed >= excess || listed == LISTED_MAX || has_file(fresh, path) || !has_file(after_a, path))
            continue;
        listed++;
        finding = add(findings, "file", "left");
        leak_excerpt(values, path, &shown);
        (void)cJSON_AddStringToObject(finding, "path", text_of(&shown));
        (void)cJSON_AddNumberToObject(finding, "bytes", json_number(file, "bytes", 0));
        say(finding, "A left the file /tmp/%s (%.0f bytes)", text_of(&shown), json_number(file, "bytes", 0));
    }
}

/* The kind of thing a descriptor is, without numbers. */
static void descriptor_name(const cJSON *descriptor, char *out, size_t size)
{
    const char *path = json_text(descriptor, "path", "");

    if (same_text(descriptor, "kind", "file"))
        (void)snprintf(out, size, "%s", path);
    else if (same_text(descriptor, "kind", "other"))
        (void)snprintf(out, size, "%s", text_starts(path, "anon_inode:") ? path + 11 : path);
    else
        (void)snprintf(out, size, "%s%s%s",
                       cJSON_IsTrue(list_of(descriptor, "connected")) ? "connected " : "",
                       json_text(descriptor, "kind", ""), "");
}

static bool is_connected(const cJSON *descriptor)
{
    return cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(descriptor, "connected"));
}

/* Calls each() with every descriptor of the inspection. */
static void each_descriptor(const cJSON *inspection, void (*each)(const cJSON *descriptor, void *ctx),
                            void *ctx)
{
    const cJSON *process, *descriptor;

    cJSON_ArrayForEach(process, list_of(inspection, "processes"))
    {
        cJSON_ArrayForEach(descriptor, list_of(process, "descriptors")) each(descriptor, ctx);
    }
}

struct tally {
    cJSON *counts; /* {name: how many} */
    int sign;
};

static void count_descriptor(const cJSON *descriptor, void *ctx)
{
    struct tally *tally = ctx;
    char name[512];
    cJSON *count;

    if (is_connected(descriptor))
        return; /* those are notes */
    descriptor_name(descriptor, name, sizeof name);
    count = cJSON_GetObjectItemCaseSensitive(tally->counts, name);
    if (!count)
        count = cJSON_AddNumberToObject(tally->counts, name, 0);
    if (count)
        cJSON_SetNumberHelper(count, count->valuedouble + tally->sign);
}

static void left_descriptors(const struct leak_values *values, const cJSON *fresh, const cJSON *used,
                             cJSON *findings)
{
    struct tally tally = { cJSON_CreateObject(), 1 };
    double files = 0;
    const cJSON *count;

    each_descriptor(used, count_descriptor, &tally);
    tally.sign = -1;
    each_descriptor(fresh, count_descriptor, &tally);
    /* Names of files may vary by themselves. */
    cJSON_ArrayForEach(count, tally.counts) files += count->string[0] == '/' ? count->valuedouble : 0;
    cJSON_ArrayForEach(count, tally.counts)
    {
        bool file = count->string[0] == '/';
        double more = file && files < count->valuedouble ? files : count->valuedouble;
        AUTO_BUF struct buf shown = BUF_INIT(8192);
        cJSON *finding;

        if (more < 1)
            continue;
        files -= file ? more : 0;
        finding = add(findings, "descriptor", "left");
        leak_excerpt(values, count->string, &shown);
        (void)cJSON_AddStringToObject(finding, "what", text_of(&shown));
        (void)cJSON_AddNumberToObject(finding, "count", more);
        say(finding, "A left %.0f open descriptor%s: %s", more, more > 1 ? "s" : "", text_of(&shown));
    }
    cJSON_Delete(tally.counts);
}

static bool has_peer(const cJSON *findings, const char *peer)
{
    const cJSON *finding;

    cJSON_ArrayForEach(finding, findings)
    {
        if (same_text(finding, "kind", "connection") && same_text(finding, "peer", peer))
            return true;
    }
    return false;
}

/* The runtime's own is to the Runtime API. */
static void note_connection(const cJSON *descriptor, void *ctx)
{
    const char *peer = json_text(descriptor, "peer", "");
    cJSON *findings = ctx, *finding;

    if (!is_connected(descriptor) || !*peer || strcmp(peer, "127.0.0.1:9001") == 0 ||
        has_peer(findings, peer))
        return;
    finding = add(findings, "connection", "note");
    (void)cJSON_AddStringToObject(finding, "peer", peer);
    say(finding, "a connection to %s stays open between requests; that is how connections are reused", peer);
}

static int processes_named(const cJSON *inspection, const char *name)
{
    const cJSON *process;
    int count = 0;

    cJSON_ArrayForEach(process, list_of(inspection, "processes")) count += same_text(process, "name", name);
    return count;
}

static void left_processes(const struct leak_values *values, const cJSON *fresh, const cJSON *used,
                           cJSON *findings)
{
    AUTO_JSON *told = cJSON_CreateObject();
    const cJSON *process;

    cJSON_ArrayForEach(process, list_of(used, "processes"))
    {
        const char *name = json_text(process, "name", "");
        int more = processes_named(used, name) - processes_named(fresh, name);
        AUTO_BUF struct buf shown = BUF_INIT(8192);
        cJSON *finding;

        if (more < 1 || cJSON_GetObjectItemCaseSensitive(told, name))
            continue;
        (void)cJSON_AddTrueToObject(told, name);
        finding = add(findings, "process", "left");
        leak_excerpt(values, name, &shown);
        (void)cJSON_AddStringToObject(finding, "name", text_of(&shown));
        (void)cJSON_AddNumberToObject(finding, "count", more);
        say(finding, "A left %d process%s: %s", more, more > 1 ? "es" : "", text_of(&shown));
    }
}

void leak_left(const struct leak_values *values, const cJSON *fresh, const cJSON *after_a, const cJSON *used,
               cJSON *findings)
{
    left_files(values, fresh, after_a, used, findings);
    left_descriptors(values, fresh, used, findings);
    left_processes(values, fresh, used, findings);
    each_descriptor(used, note_connection, findings);
}

/* ---- growth ---- */

struct sums {
    double bytes;
    int processes, descriptors;
    int files;
};

static struct sums sum(const cJSON *inspection)
{
    struct sums sums = { .files = cJSON_GetArraySize(list_of(inspection, "files")) };
    const cJSON *process;

    cJSON_ArrayForEach(process, list_of(inspection, "processes"))
    {
        sums.bytes += json_number(process, "residentBytes", 0);
        sums.descriptors += cJSON_GetArraySize(list_of(process, "descriptors"));
        sums.processes++;
    }
    return sums;
}

static void grows(const char *kind, const char *what, int first, int second, int third, unsigned requests,
                  cJSON *findings)
{
    int each = (int)requests;
    cJSON *finding;

    if (second - first < each || third - second < each)
        return;
    finding = add(findings, kind, "left");
    (void)cJSON_AddNumberToObject(finding, "perRequest", (third - first) / (2.0 * each));
    say(finding, "every request leaves more %s: %d, %d, %d after %u requests each", what, first, second,
        third, requests);
}

void leak_growth(const cJSON *first, const cJSON *second, const cJSON *third, unsigned requests,
                 cJSON *findings)
{
    struct sums a = sum(first), b = sum(second), c = sum(third);
    double least = (double)GROWTH_BYTES * requests, rate = (c.bytes - a.bytes) / (2.0 * requests);
    cJSON *finding;

    grows("file-growth", "files", a.files, b.files, c.files, requests, findings);
    grows("descriptor-growth", "open descriptors", a.descriptors, b.descriptors, c.descriptors, requests,
          findings);
    grows("process-growth", "processes", a.processes, b.processes, c.processes, requests, findings);
    if (b.bytes - a.bytes < least || c.bytes - b.bytes < least)
        return;
    finding = add(findings, "memory", "left");
    (void)cJSON_AddNumberToObject(finding, "bytesPerRequest", rate);
    say(finding, "memory grows by about %.1f MB with each request", rate / 1e6);
}
