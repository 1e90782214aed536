#include "wire/wire.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/err.h"

/*
 * A packet, all numbers little endian:
 *
 *   0  u8   WIRE_VERSION
 *   1  u8   type
 *   2  u16  0
 *   4  u32  length of the whole packet
 *   8  u64  env_id
 *   16      the parts its type has, in this order:
 *           number   u64
 *           start    u32 uid_index, memory_mb, tmp_mb, cpu_millis, argc, envc, flags; u64 template_id; texts
 *           runtime, code, hostname; argc and envc texts
 *           exited   u32 kind, u32 value, u32 out_of_memory (0 or 1)
 *           text
 *           values   u32 count; as many texts
 *
 * A text is u32 length, that many bytes and a NUL, so that decoding need not copy.
 */

enum { HEADER_BYTES = 16 };
enum { PART_ENV = 1, PART_NUMBER = 2, PART_START = 4, PART_EXITED = 8, PART_TEXT = 16, PART_VALUES = 32 };

/* What a message of each type has, and the largest number it may carry; 0 = no such type. */
static const struct {
    unsigned parts;
    uint64_t number_max;
} types[WIRE_TYPE_END] = {
    [WIRE_START] = { PART_ENV | PART_START, 0 },
    [WIRE_RESTART] = { PART_ENV | PART_START, 0 },
    [WIRE_FREEZE] = { PART_ENV, 0 },
    [WIRE_THAW] = { PART_ENV, 0 },
    [WIRE_CPU] = { PART_ENV | PART_NUMBER, 1000000 },
    [WIRE_KILL] = { PART_ENV, 0 },
    [WIRE_STOP] = { PART_ENV, 0 },
    [WIRE_CAPTURE] = { PART_ENV, 0 },
    [WIRE_INSPECT] = { PART_ENV | PART_VALUES, 0 },
    [WIRE_READY] = { PART_TEXT, 0 },
    [WIRE_STARTED] = { PART_ENV | PART_NUMBER, WIRE_PARKED },
    [WIRE_FAILED] = { PART_ENV | PART_NUMBER | PART_TEXT, WIRE_FAIL_TEMPLATE },
    [WIRE_EXITED] = { PART_ENV | PART_EXITED | PART_TEXT, 0 },
    [WIRE_GONE] = { PART_ENV, 0 },
    [WIRE_CAPTURED] = { PART_ENV | PART_NUMBER | PART_TEXT, 1 },
    [WIRE_INSPECTED] = { PART_ENV | PART_NUMBER | PART_TEXT, 1 },
};

/* ------------------------------------------------------------------ checks shared by both directions */

static bool only_of(const char *text, size_t min, size_t max, const char *allowed)
{
    size_t len = strlen(text);

    return len >= min && len <= max && strspn(text, allowed) == len;
}

/* Code runs as its function's user; a template without code is nobody's. */
static const char *check_code(const struct wire_start *start)
{
    bool none = !*start->code && (start->flags & WIRE_START_TEMPLATE);

    if (!none && !only_of(start->code, 64, 64, "0123456789abcdef"))
        return "code hash";
    if (none ? start->uid_index != 0 : start->uid_index < 1 || start->uid_index > 65535)
        return "user id index";
    return NULL;
}

static const char *check_start(enum wire_type type, const struct wire_start *start)
{
    const char *wrong = check_code(start);

    if (wrong)
        return wrong;
    if (start->flags > WIRE_START_CODE_CACHE)
        return "flags";
    if (type == WIRE_RESTART && (start->flags || start->template_id))
        return "template";
    if (start->memory_mb < 128 || start->memory_mb > 10240)
        return "memory size";
    if (start->tmp_mb < 512 || start->tmp_mb > 10240)
        return "size of /tmp";
    if (start->cpu_millis > 1000000)
        return "CPU limit";
    if (!only_of(start->runtime, 1, 23, "abcdefghijklmnopqrstuvwxyz0123456789."))
        return "runtime id";
    if (!only_of(start->hostname, 1, 63, "abcdefghijklmnopqrstuvwxyz0123456789.-"))
        return "host name";
    if (start->argc < 1 || start->argc > WIRE_MAX_ARGS || !start->argv || start->argv[0][0] != '/')
        return "arguments";
    if (start->envc > WIRE_MAX_ENV)
        return "environment variables";
    for (uint32_t i = 0; i < start->envc; i++) {
        const char *equals = strchr(start->env[i], '=');

        if (!equals || equals == start->env[i])
            return "environment variables";
    }
    return NULL;
}

static const char *check_values(const struct wire_message *message)
{
    for (uint32_t i = 0; i < message->value_count; i++) {
        size_t len = strlen(message->values[i]);

        if (len < WIRE_MIN_VALUE || len > WIRE_MAX_VALUE)
            return "length of a value";
    }
    return NULL;
}

/* Returns what is wrong, or NULL. */
static const char *check_message(const struct wire_message *message, unsigned parts)
{
    if ((parts & PART_ENV) && message->env_id == 0)
        return "environment id";
    if ((parts & PART_NUMBER) && message->number > types[message->type].number_max)
        return "number";
    if (parts & PART_START)
        return check_start(message->type, &message->start);
    if ((parts & PART_EXITED) && message->exited.kind > WIRE_EXIT_PLATFORM)
        return "kind of exit";
    if (parts & PART_VALUES)
        return check_values(message);
    return NULL;
}

/* ------------------------------------------------------------------ encoding */

static void put_u32(struct buf *out, uint32_t value)
{
    unsigned char bytes[4];

    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (unsigned char)(value >> (8 * i));
    (void)buf_append(out, bytes, sizeof bytes);
}

static void put_u64(struct buf *out, uint64_t value)
{
    put_u32(out, (uint32_t)value);
    put_u32(out, (uint32_t)(value >> 32));
}

static void put_text(struct buf *out, const char *text)
{
    size_t len = strlen(text);

    put_u32(out, len > WIRE_MAX_BYTES ? WIRE_MAX_BYTES : (uint32_t)len);
    (void)buf_append(out, text, len + 1);
}

static void put_start(struct buf *out, const struct wire_start *start)
{
    const uint32_t numbers[] = { start->uid_index, start->memory_mb, start->tmp_mb, start->cpu_millis,
                                 start->argc,      start->envc,      start->flags };

    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        put_u32(out, numbers[i]);
    put_u64(out, start->template_id);
    put_text(out, start->runtime);
    put_text(out, start->code);
    put_text(out, start->hostname);
    for (uint32_t i = 0; i < start->argc; i++)
        put_text(out, start->argv[i]);
    for (uint32_t i = 0; i < start->envc; i++)
        put_text(out, start->env[i]);
}

static void put_values(struct buf *out, const struct wire_message *message)
{
    put_u32(out, message->value_count);
    for (uint32_t i = 0; i < message->value_count; i++)
        put_text(out, message->values[i]);
}

static bool start_complete(const struct wire_start *start)
{
    if (!start->runtime || !start->code || !start->hostname || start->argc > WIRE_MAX_ARGS ||
        start->envc > WIRE_MAX_ENV || (start->argc && !start->argv) || (start->envc && !start->env))
        return false;
    for (uint32_t i = 0; i < start->argc; i++) {
        if (!start->argv[i])
            return false;
    }
    for (uint32_t i = 0; i < start->envc; i++) {
        if (!start->env[i])
            return false;
    }
    return true;
}

static bool values_complete(const struct wire_message *message)
{
    if (message->value_count > WIRE_MAX_VALUES || (message->value_count && !message->values))
        return false;
    for (uint32_t i = 0; i < message->value_count; i++) {
        if (!message->values[i])
            return false;
    }
    return true;
}

int wire_encode(const struct wire_message *message, struct buf *out)
{
    unsigned parts = (unsigned)message->type < WIRE_TYPE_END ? types[message->type].parts : 0;
    const char *text = parts & PART_EXITED ? message->exited.text : message->text;
    uint64_t env_id = message->env_id;
    size_t begin = out->len;

    if (!parts || ((parts & PART_TEXT) && !text))
        return -EINVAL;
    if ((parts & PART_START) && !start_complete(&message->start))
        return -EINVAL;
    if ((parts & PART_VALUES) && !values_complete(message))
        return -EINVAL;
    if (check_message(message, parts))
        return -EINVAL;
    put_u32(out, WIRE_VERSION | (uint32_t)message->type << 8);
    put_u32(out, 0);
    put_u64(out, parts & PART_ENV ? env_id : 0);
    if (parts & PART_NUMBER)
        put_u64(out, message->number);
    if (parts & PART_START)
        put_start(out, &message->start);
    if (parts & PART_EXITED) {
        put_u32(out, message->exited.kind);
        put_u32(out, (uint32_t)message->exited.value);
        put_u32(out, message->exited.out_of_memory);
    }
    if (parts & PART_TEXT)
        put_text(out, text);
    if (parts & PART_VALUES)
        put_values(out, message);
    if (out->failed || out->len - begin > WIRE_MAX_BYTES)
        return -EMSGSIZE;
    for (size_t i = 0; i < 4; i++)
        out->data[begin + 4 + i] = (char)((out->len - begin) >> (8 * i));
    return 0;
}

/* ------------------------------------------------------------------ decoding */

struct reader {
    const unsigned char *at, *end;
    bool bad;
};

static uint32_t get_u32(struct reader *in)
{
    uint32_t value = 0;

    if (in->end - in->at < 4) {
        in->bad = true;
        return 0;
    }
    for (size_t i = 0; i < 4; i++)
        value |= (uint32_t)in->at[i] << (8 * i);
    in->at += 4;
    return value;
}

static uint64_t get_u64(struct reader *in)
{
    uint64_t low = get_u32(in);

    return low | (uint64_t)get_u32(in) << 32;
}

static const char *get_text(struct reader *in)
{
    size_t len = get_u32(in);
    const char *text = (const char *)in->at;

    if (in->bad || (size_t)(in->end - in->at) <= len || memchr(text, 0, len + 1) != text + len) {
        in->bad = true;
        return "";
    }
    in->at += len + 1;
    return text;
}

static int get_start(struct reader *in, struct wire_message *message)
{
    struct wire_start *start = &message->start;
    const char **at;

    start->env_id = message->env_id;
    start->uid_index = get_u32(in);
    start->memory_mb = get_u32(in);
    start->tmp_mb = get_u32(in);
    start->cpu_millis = get_u32(in);
    start->argc = get_u32(in);
    start->envc = get_u32(in);
    start->flags = get_u32(in);
    start->template_id = get_u64(in);
    start->runtime = get_text(in);
    start->code = get_text(in);
    start->hostname = get_text(in);
    if (in->bad || start->argc < 1 || start->argc > WIRE_MAX_ARGS || start->envc > WIRE_MAX_ENV)
        return -EINVAL;
    message->strings = at = calloc(start->argc + start->envc + 2U, sizeof *at);
    if (!at)
        return -ENOMEM;
    start->argv = at;
    for (uint32_t i = 0; i < start->argc; i++)
        *at++ = get_text(in);
    at++;
    start->env = at;
    for (uint32_t i = 0; i < start->envc; i++)
        *at++ = get_text(in);
    return in->bad ? -EINVAL : 0;
}

static int get_values(struct reader *in, struct wire_message *message)
{
    uint32_t count = get_u32(in);

    if (in->bad || count > WIRE_MAX_VALUES)
        return -EINVAL;
    message->strings = calloc(count + 1U, sizeof *message->strings);
    if (!message->strings)
        return -ENOMEM;
    for (uint32_t i = 0; i < count; i++)
        message->strings[i] = get_text(in);
    message->values = message->strings;
    message->value_count = count;
    return in->bad ? -EINVAL : 0;
}

static int get_parts(struct reader *in, unsigned parts, struct wire_message *message)
{
    int r = 0;

    message->text = message->exited.text = "";
    if (parts & PART_NUMBER)
        message->number = get_u64(in);
    if (parts & PART_START)
        r = get_start(in, message);
    if (parts & PART_EXITED) {
        message->exited.env_id = message->env_id;
        message->exited.kind = get_u32(in);
        message->exited.value = (int32_t)get_u32(in);
        uint32_t out_of_memory = get_u32(in);

        if (out_of_memory > 1)
            in->bad = true;
        message->exited.out_of_memory = out_of_memory == 1;
    }
    if (parts & PART_EXITED)
        message->exited.text = get_text(in);
    else if (parts & PART_TEXT)
        message->text = get_text(in);
    if (parts & PART_VALUES)
        r = get_values(in, message);
    if (in->at != in->end)
        in->bad = true;
    return r < 0 ? r : in->bad ? -EINVAL : 0;
}

int wire_decode(const void *packet, size_t len, struct wire_message *ret_message, struct err *err)
{
    struct reader in = { packet, (const unsigned char *)packet + len, false };
    struct wire_message message = { 0 };
    uint32_t first = get_u32(&in), length = get_u32(&in), type = first >> 8 & 0xff;
    const char *wrong;
    unsigned parts;
    int r;

    message.env_id = get_u64(&in);
    if (in.bad || len > WIRE_MAX_BYTES || length != len || first >> 16)
        return err_set(err, ERR_INVALID, 0, "wire message has a broken header");
    if ((first & 0xff) != WIRE_VERSION)
        return err_set(err, ERR_INVALID, 0, "wire message of version %u, not %d", first & 0xffU,
                       WIRE_VERSION);
    parts = type < WIRE_TYPE_END ? types[type].parts : 0;
    if (!parts || (!(parts & PART_ENV) && message.env_id))
        return err_set(err, ERR_INVALID, 0, "wire message of unknown type %u", type);
    message.type = (enum wire_type)type;
    r = get_parts(&in, parts, &message);
    if (r == -ENOMEM) {
        wire_message_done(&message);
        return err_set(err, ERR_SYSTEM, ENOMEM, "wire message");
    }
    wrong = r < 0 ? "layout" : check_message(&message, parts);
    if (wrong) {
        wire_message_done(&message);
        return err_set(err, ERR_INVALID, 0, "wire message of type %u refused: %s", type, wrong);
    }
    *ret_message = message;
    return 0;
}

void wire_message_done(struct wire_message *message)
{
    free(message->strings);
    message->strings = NULL;
}
