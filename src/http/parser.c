#include "http/parser.h"

#include <assert.h>
#include <string.h>
#include <strings.h>

#include "base/text.h"

enum {
    CHUNK_DIGITS_MAX = 16,
    CHUNK_EXTENSION_BYTES_MAX = 4096, /* all chunks of a message together: nobody uses them but attackers */
};

enum state {
    LINES,
    FIELDS,
    BODY,
    LENGTH_BODY,
    CHUNK_SIZE_FIRST,
    CHUNK_SIZE,
    EXT_FIRST,
    EXT_NAME,
    EXT_VALUE_FIRST,
    EXT_VALUE,
    EXT_QUOTED,
    EXT_QUOTED_END,
    CHUNK_SIZE_LF,
    CHUNK_DATA,
    CHUNK_DATA_CR,
    CHUNK_DATA_LF,
    TRAILER_LINES,
    TRAILERS,
    ENDED,
};

/* What a byte may be part of. */
enum {
    T = 1, /* token: method, field name (RFC 9110, 5.6.2) */
    V = 2, /* field value, white space included */
    U = 4, /* request target: visible ASCII without '#' */
    H = 8, /* host and port */
};

/* clang-format off */
static const unsigned char classes[256] = {
    ['\t'] = V, [' '] = V,
    ['!'] = T | V | U, ['"'] = V | U, ['#'] = T | V, ['$'] = T | V | U, ['%'] = T | V | U | H,
    ['&' ... '\''] = T | V | U, ['(' ... ')'] = V | U, ['*' ... '+'] = T | V | U, [','] = V | U,
    ['-' ... '.'] = T | V | U | H, ['/'] = V | U, ['0' ... '9'] = T | V | U | H, [':'] = V | U | H,
    [';' ... '@'] = V | U, ['A' ... 'Z'] = T | V | U | H, ['['] = V | U | H, ['\\'] = V | U,
    [']'] = V | U | H,
    ['^'] = T | V | U, ['_'] = T | V | U | H, ['`'] = T | V | U, ['a' ... 'z'] = T | V | U | H,
    ['{'] = V | U, ['|'] = T | V | U, ['}'] = V | U, ['~'] = T | V | U | H,
    [0x80 ... 0xff] = V,
};

/* Registered methods. CONNECT is for proxies and changes what follows the head, so it is not among them. */
static const char *const methods[] = {
    "GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "TRACE", "ACL", "BIND", "CHECKOUT", "COPY",
    "LINK", "LOCK", "M-SEARCH", "MERGE", "MKACTIVITY", "MKCALENDAR", "MKCOL", "MOVE", "NOTIFY", "PROPFIND",
    "PROPPATCH", "PURGE", "REBIND", "REPORT", "SEARCH", "SOURCE", "SUBSCRIBE", "UNBIND", "UNLINK", "UNLOCK", "UNSUBSCRIBE",
};

/* A proxy that merges trailers into the headers must find nothing there that frames or routes. */
static const char *const not_in_trailers[] = {
    "content-length", "transfer-encoding", "host", "connection", "trailer", "expect", "upgrade", "te",
    "authorization", "content-type", "content-encoding", "content-range", "cookie",
};
/* clang-format on */

static bool all_of(const char *at, size_t len, unsigned char class)
{
    for (size_t i = 0; i < len; i++) {
        if (!(classes[(unsigned char)at[i]] & class))
            return false;
    }
    return true;
}

bool http_slice_equal(struct http_slice slice, const char *text)
{
    return strlen(text) == slice.len && memcmp(slice.at, text, slice.len) == 0;
}

bool http_slice_equal_nocase(struct http_slice slice, const char *text)
{
    return text_equal_nocase(slice.at, slice.len, text);
}

const struct http_slice *http_request_header(const struct http_request *request, const char *name)
{
    size_t len = strlen(name);

    for (size_t i = 0; i < request->header_count; i++) {
        const struct http_header *header = &request->headers[i];

        if (header->name.len == len && http_slice_equal_nocase(header->name, name))
            return &header->value;
    }
    return NULL;
}

void http_parser_begin(struct http_parser *parser, const struct http_limits *limits)
{
    struct http_header *fields = parser->fields;
    size_t field_cap = parser->field_cap;

    *parser =
        (struct http_parser){ .fields = fields, .field_cap = field_cap, .limits = *limits, .state = LINES };
}

static enum http_step bad(struct http_parser *p, int status)
{
    p->error_status = status;
    p->state = ENDED;
    return HTTP_BAD;
}

static enum http_step more(struct http_parser *p, uint64_t missing)
{
    p->missing = missing;
    return HTTP_MORE;
}

static void slice_move(struct http_slice *slice, uintptr_t by)
{
    if (slice->at)
        slice->at = (const char *)((uintptr_t)slice->at + by);
}

/* The bytes lie elsewhere than in the call before. */
static void follow(struct http_parser *p, const char *data)
{
    struct http_request *request = &p->request;
    uintptr_t by = (uintptr_t)data - (uintptr_t)p->data;

    if (p->data && by != 0) {
        slice_move(&request->method, by);
        slice_move(&request->target, by);
        slice_move(&request->path, by);
        slice_move(&request->query, by);
        slice_move(&request->host, by);
        for (size_t i = 0; i < request->header_count + request->trailer_count; i++) {
            slice_move(&p->fields[i].name, by);
            slice_move(&p->fields[i].value, by);
        }
    }
    p->data = data;
    request->headers = p->fields;
}

static bool method_is_known(struct http_slice method)
{
    for (size_t i = 0; i < sizeof methods / sizeof methods[0]; i++) {
        if (http_slice_equal(method, methods[i]))
            return true;
    }
    return false;
}

static void split_query(struct http_request *request, const char *at, size_t len)
{
    const char *mark = len > 0 ? memchr(at, '?', len) : NULL;

    request->path = (struct http_slice){ at, mark ? (size_t)(mark - at) : len };
    request->has_query = mark != NULL;
    if (mark)
        request->query = (struct http_slice){ mark + 1, (size_t)(at + len - mark - 1) };
}

/* http://authority[/path][?query] */
static bool parse_absolute(struct http_parser *p, struct http_slice target)
{
    size_t scheme = target.len > 7 && text_equal_nocase(target.at, 7, "http://")    ? 7
                    : target.len > 8 && text_equal_nocase(target.at, 8, "https://") ? 8
                                                                                    : 0;
    size_t end = scheme;

    if (scheme == 0)
        return false;
    while (end < target.len && target.at[end] != '/' && target.at[end] != '?')
        end++;
    if (end == scheme || !all_of(target.at + scheme, end - scheme, H))
        return false;
    p->request.host = (struct http_slice){ target.at + scheme, end - scheme };
    p->has_authority = true;
    split_query(&p->request, target.at + end, target.len - end);
    /* An absent path means "/" (RFC 9112, 3.2.1); the scheme has one that moves along with the message. */
    if (p->request.path.len == 0)
        p->request.path = (struct http_slice){ target.at + scheme - 1, 1 };
    return true;
}

static bool parse_target(struct http_parser *p, struct http_slice target)
{
    if (target.len == 0 || !all_of(target.at, target.len, U))
        return false;
    p->request.target = target;
    if (target.at[0] == '/') {
        split_query(&p->request, target.at, target.len);
        return true;
    }
    if (http_slice_equal(target, "*") && http_slice_equal(p->request.method, "OPTIONS")) {
        p->request.path = target;
        return true;
    }
    return parse_absolute(p, target);
}

/* Returns 0 or the status of the refusal. The version comes first: an HTTP/2 preface deserves 505. */
static int parse_version(const char *at, size_t len, int *ret_minor)
{
    if (len != 8 || memcmp(at, "HTTP/", 5) != 0 || at[6] != '.' || at[5] < '0' || at[5] > '9' ||
        at[7] < '0' || at[7] > '9')
        return 400;
    if (at[5] != '1' || at[7] > '1')
        return 505;
    *ret_minor = at[7] - '0';
    return 0;
}

/* line without its CRLF. Returns 0 or the status of the refusal. */
static int parse_request_line(struct http_parser *p, const char *line, size_t len)
{
    const char *first = memchr(line, ' ', len);
    const char *second = first ? memchr(first + 1, ' ', (size_t)(line + len - first - 1)) : NULL;
    int status;

    if (!second)
        return 400;
    status = parse_version(second + 1, (size_t)(line + len - second - 1), &p->request.minor);
    if (status != 0)
        return status;
    p->request.method = (struct http_slice){ line, (size_t)(first - line) };
    if (p->request.method.len == 0 || !all_of(line, p->request.method.len, T))
        return 400;
    if (!method_is_known(p->request.method))
        return 501;
    return parse_target(p, (struct http_slice){ first + 1, (size_t)(second - first - 1) }) ? 0 : 400;
}

/* Whether the first byte of a message can be one, so that TLS and noise need not wait for a line end. */
static bool first_byte_is_possible(char c)
{
    return (c >= 'A' && c <= 'Z') || c == '\r';
}

/* Counts a line that is there up to end, whole or not. Returns 0 or the status of the refusal. */
static int check_line_limits(const struct http_parser *p, size_t end)
{
    if (p->fields_at == 0)
        return end - p->line > p->limits.max_line_bytes ? 414 : 0;
    return end - p->fields_at > p->limits.max_header_bytes ? 431 : 0;
}

/* Takes one whole line, [line, end). Returns 0 or the status of the refusal. */
static int take_line(struct http_parser *p, const char *data, size_t end)
{
    size_t len = end - p->line;
    int status;

    if (len < 2 || data[end - 2] != '\r')
        return 400;
    if (p->fields_at > 0) {
        p->line_count += len > 2;
        return p->line_count > p->limits.max_headers ? 431 : 0;
    }
    if (len == 2) { /* RFC 9112, 2.2: an empty line before a request; one, no more */
        status = p->skipped_empty ? 400 : 0;
        p->skipped_empty = true;
        return status;
    }
    status = parse_request_line(p, data + p->line, len - 2);
    if (status == 0)
        p->fields_at = end;
    return status;
}

/* Finds the lines of a head or of trailers up to the empty one. */
static enum http_step scan_lines(struct http_parser *p, const char *data, size_t len)
{
    for (;;) {
        const char *lf = len > p->scan ? memchr(data + p->scan, '\n', len - p->scan) : NULL;
        size_t end = lf ? (size_t)(lf - data) + 1 : len;
        bool is_last = p->fields_at > 0 && end - p->line == 2;
        int status;

        if (p->fields_at == 0 && p->line < len && !first_byte_is_possible(data[p->line]))
            return bad(p, 400);
        status = check_line_limits(p, end);
        if (status == 431 && p->limits.ask)
            return HTTP_LONG;
        if (status == 0 && lf)
            status = take_line(p, data, end);
        if (status != 0)
            return bad(p, status);
        p->scan = end;
        if (!lf)
            return more(p, 0);
        p->line = end;
        if (is_last) {
            p->state++;
            return HTTP_DONE;
        }
    }
}

/* line without its CRLF. */
static bool parse_field(const char *line, size_t len, struct http_header *ret_field)
{
    size_t name = 0, start, end = len;

    while (name < len && classes[(unsigned char)line[name]] & T)
        name++;
    if (name == 0 || name == len || line[name] != ':')
        return false;
    start = name + 1;
    while (start < end && (line[start] == ' ' || line[start] == '\t'))
        start++;
    while (end > start && (line[end - 1] == ' ' || line[end - 1] == '\t'))
        end--;
    if (!all_of(line + start, end - start, V))
        return false;
    ret_field->name = (struct http_slice){ line, name };
    ret_field->value = (struct http_slice){ line + start, end - start };
    return true;
}

static void note_connection(struct http_parser *p, struct http_slice value)
{
    const char *at = value.at, *stop = value.at + value.len;

    while (at < stop) {
        const char *comma = memchr(at, ',', (size_t)(stop - at));
        const char *end = comma ? comma : stop;
        const char *from = at;

        at = comma ? comma + 1 : stop;
        while (from < end && (*from == ' ' || *from == '\t'))
            from++;
        while (end > from && (end[-1] == ' ' || end[-1] == '\t'))
            end--;
        p->has_close |= text_equal_nocase(from, (size_t)(end - from), "close");
        p->has_keep_alive |= text_equal_nocase(from, (size_t)(end - from), "keep-alive");
    }
}

static int note_host(struct http_parser *p, struct http_slice value)
{
    if (p->has_host || !all_of(value.at, value.len, H))
        return 400;
    p->has_host = true;
    if (!p->has_authority) {
        p->request.host = value;
        return 0;
    }
    /* One names the authority, the other reads Host: refuse to choose. */
    return p->request.host.len == value.len && strncasecmp(p->request.host.at, value.at, value.len) == 0
               ? 0
               : 400;
}

static int note_content_length(struct http_parser *p, struct http_slice value)
{
    if (p->request.has_length || !text_to_u64(value.at, value.len, INT64_MAX, &p->request.length))
        return 400;
    p->request.has_length = true;
    return 0;
}

static int note_transfer_encoding(struct http_parser *p, struct http_slice value)
{
    if (p->has_transfer_encoding || !http_slice_equal_nocase(value, "chunked"))
        return 400;
    p->has_transfer_encoding = p->request.chunked = true;
    return 0;
}

/* Looks at the headers that matter for the message itself. Returns 0 or the status of the refusal. */
static int note_header(struct http_parser *p, const struct http_header *header)
{
    switch (header->name.len) {
    case 4:
        return http_slice_equal_nocase(header->name, "host") ? note_host(p, header->value) : 0;
    case 6:
        if (!http_slice_equal_nocase(header->name, "expect") || p->request.minor == 0)
            return 0;
        p->request.expect_continue = http_slice_equal_nocase(header->value, "100-continue");
        return p->request.expect_continue ? 0 : 417;
    case 10:
        if (http_slice_equal_nocase(header->name, "connection"))
            note_connection(p, header->value);
        return 0;
    case 14:
        return http_slice_equal_nocase(header->name, "content-length") ? note_content_length(p, header->value)
                                                                       : 0;
    case 17:
        return http_slice_equal_nocase(header->name, "transfer-encoding")
                   ? note_transfer_encoding(p, header->value)
                   : 0;
    default:
        return 0;
    }
}

static struct http_header *behind_headers(const struct http_parser *p)
{
    return p->request.header_count > 0 ? p->fields + p->request.header_count : p->fields;
}

/* Fills fields from the whole lines [fields_at, end), the empty one not included. */
static int parse_fields(struct http_parser *p, const char *data, size_t end, bool trailers)
{
    struct http_header *field = behind_headers(p);

    for (size_t at = p->fields_at; at < end; field++) {
        const char *lf = memchr(data + at, '\n', end - at);
        size_t len = (size_t)(lf - (data + at)) - 1;
        int status = 0;

        assert(field < p->fields + p->field_cap);
        if (!parse_field(data + at, len, field))
            return 400;
        if (!trailers)
            status = note_header(p, field);
        for (size_t i = 0; trailers && i < sizeof not_in_trailers / sizeof not_in_trailers[0]; i++) {
            if (http_slice_equal_nocase(field->name, not_in_trailers[i]))
                return 400;
        }
        if (status != 0)
            return status;
        at += len + 2;
    }
    return 0;
}

static enum http_step want_fields(struct http_parser *p)
{
    p->fields_needed = p->line_count;
    return HTTP_FIELDS;
}

static enum http_step finish_head(struct http_parser *p, const char *data)
{
    struct http_request *request = &p->request;
    int status;

    if (p->line_count > p->field_cap)
        return want_fields(p);
    p->head_len = p->line;
    status = parse_fields(p, data, p->head_len - 2, false);
    if (status != 0)
        return bad(p, status);
    request->header_count = p->line_count;
    if (request->minor == 1 ? !p->has_host : request->chunked)
        return bad(p, 400);
    if (request->chunked && request->has_length)
        return bad(p, 400);
    if (!request->host.at)
        request->host = (struct http_slice){ data, 0 };
    if (!request->query.at)
        request->query = (struct http_slice){ data, 0 };
    request->keep_alive = !p->has_close && (request->minor == 1 || p->has_keep_alive);
    p->state = BODY;
    return HTTP_HEAD;
}

static enum http_step done(struct http_parser *p, const char *data, size_t body_len, size_t used)
{
    p->request.body = data + p->head_len;
    p->request.body_len = body_len;
    p->request.trailers = behind_headers(p);
    p->used = used;
    p->missing = 0;
    p->state = ENDED;
    return HTTP_DONE;
}

static enum http_step too_large(struct http_parser *p)
{
    p->state = ENDED;
    return HTTP_TOO_LARGE;
}

static enum http_step read_length_body(struct http_parser *p, const char *data, size_t len)
{
    size_t there = len - p->head_len;

    if (there < p->request.length)
        return more(p, p->request.length - there);
    return done(p, data, (size_t)p->request.length, p->head_len + (size_t)p->request.length);
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* What may follow a chunk size or an extension's end: the next extension or the line end. -1: nothing else.
 */
static int after_size(char c)
{
    return c == ';' ? EXT_FIRST : c == '\r' ? CHUNK_SIZE_LF : -1;
}

static int size_byte(struct http_parser *p, char c)
{
    int digit = hex_digit(c);

    if (digit < 0)
        return p->state == CHUNK_SIZE_FIRST ? -1 : after_size(c);
    if (p->state == CHUNK_SIZE_FIRST) {
        p->chunk_left = 0;
        p->size_digits = 0;
    }
    if (++p->size_digits > CHUNK_DIGITS_MAX)
        return -1;
    p->chunk_left = p->chunk_left << 4 | (unsigned)digit;
    return CHUNK_SIZE;
}

/* ;name, ;name=token, ;name="text": the grammar without white space and without escapes. */
static int extension_byte(struct http_parser *p, char c)
{
    bool token = classes[(unsigned char)c] & T;

    if (++p->ext_bytes > CHUNK_EXTENSION_BYTES_MAX)
        return -1;
    switch (p->state) {
    case EXT_FIRST:
        return token ? EXT_NAME : -1;
    case EXT_NAME:
        return token ? EXT_NAME : c == '=' ? EXT_VALUE_FIRST : after_size(c);
    case EXT_VALUE_FIRST:
        return token ? EXT_VALUE : c == '"' ? EXT_QUOTED : -1;
    case EXT_VALUE:
        return token ? EXT_VALUE : after_size(c);
    case EXT_QUOTED:
        if (c == '"')
            return EXT_QUOTED_END;
        return c != '\\' && classes[(unsigned char)c] & V ? EXT_QUOTED : -1;
    default:
        return after_size(c);
    }
}

/* The state after c, -1 when it may not be there. */
static int chunk_byte(struct http_parser *p, char c)
{
    switch (p->state) {
    case CHUNK_SIZE_FIRST:
    case CHUNK_SIZE:
        return size_byte(p, c);
    case CHUNK_SIZE_LF:
        return c != '\n' ? -1 : p->chunk_left > 0 ? CHUNK_DATA : TRAILER_LINES;
    case CHUNK_DATA_CR:
        return c == '\r' ? CHUNK_DATA_LF : -1;
    case CHUNK_DATA_LF:
        return c == '\n' ? CHUNK_SIZE_FIRST : -1;
    default:
        return extension_byte(p, c);
    }
}

static void copy_chunk(struct http_parser *p, char *data, size_t len)
{
    size_t there = len - p->read;
    size_t n = there < p->chunk_left ? there : (size_t)p->chunk_left;

    if (p->write != p->read)
        memmove(data + p->write, data + p->read, n);
    p->write += n;
    p->read += n;
    p->chunk_left -= n;
    if (p->chunk_left == 0)
        p->state = CHUNK_DATA_CR;
}

/* Takes raw bytes [read, *len) and puts the decoded ones at write, which never overtakes read. */
static enum http_step read_chunks(struct http_parser *p, char *data, size_t *len)
{
    while (p->read < *len) {
        int next;

        if (p->state == CHUNK_DATA) {
            copy_chunk(p, data, *len);
            continue;
        }
        next = chunk_byte(p, data[p->read++]);
        if (next < 0)
            return bad(p, 400);
        p->state = next;
        if (next == CHUNK_DATA && p->chunk_left > p->body_limit - (p->write - p->head_len))
            return too_large(p);
        if (next == TRAILER_LINES) {
            memmove(data + p->write, data + p->read, *len - p->read);
            *len -= p->read - p->write;
            p->fields_at = p->line = p->scan = p->write;
            return HTTP_HEAD;
        }
    }
    *len = p->read = p->write;
    return more(p, p->state == CHUNK_DATA ? p->chunk_left : 0);
}

static enum http_step finish_trailers(struct http_parser *p, const char *data)
{
    size_t end = p->line - 2;
    int status;

    if (p->line_count > p->field_cap)
        return want_fields(p);
    status = parse_fields(p, data, end, true);
    if (status != 0)
        return bad(p, status);
    p->request.trailer_count = p->line_count - p->request.header_count;
    return done(p, data, p->write - p->head_len, p->line);
}

static enum http_step begin_body(struct http_parser *p, const char *data)
{
    if (p->request.length > p->body_limit)
        return too_large(p);
    if (!p->request.chunked && p->request.length == 0)
        return done(p, data, 0, p->head_len);
    p->read = p->write = p->head_len;
    p->state = p->request.chunked ? CHUNK_SIZE_FIRST : LENGTH_BODY;
    return HTTP_HEAD;
}

/* Steps inside return HTTP_HEAD (body parts) or HTTP_DONE (lines) to say: on with the next state. */
enum http_step http_parser_step(struct http_parser *parser, char *data, size_t *len)
{
    enum http_step step;

    follow(parser, data);
    for (;;) {
        switch (parser->state) {
        case LINES:
        case TRAILER_LINES:
            step = scan_lines(parser, data, *len);
            if (step != HTTP_DONE)
                return step;
            break;
        case FIELDS:
            return finish_head(parser, data);
        case TRAILERS:
            return finish_trailers(parser, data);
        case BODY:
            step = begin_body(parser, data);
            if (step != HTTP_HEAD)
                return step;
            break;
        case LENGTH_BODY:
            return read_length_body(parser, data, *len);
        case ENDED:
            return bad(parser, 400);
        default:
            step = read_chunks(parser, data, len);
            if (step != HTTP_HEAD)
                return step;
            break;
        }
    }
}
