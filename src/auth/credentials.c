#include "auth/credentials.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/crypto.h>

#include "auth/credentials_priv.h"
#include "auth/ini.h"
#include "auth/sigv4_priv.h"
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/err.h"
#include "base/id.h"

enum {
    BUCKETS = 1024, /* a power of two; an environment has one key, so chains stay short with thousands */
    CACHE_SLOTS = 256,
    MAX_FILE_BYTES = 64 * 1024,
    MAX_FILE_KEYS = 64,
    ACCESS_KEY_CHARS = 16, /* after the prefix */
    SECRET_CHARS = 40,
    TOKEN_CHARS = 128, /* any length up to 256 will do; these are 768 random bits */
};

static const char base32[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
static const char base64[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

struct entry {
    struct entry *next;
    struct credential_match match;
};

struct cached_key {
    char access_key[129];
    char date[9];
    char region[33], service[33];
    unsigned char key[SIGV4_HASH_BYTES];
};

struct credentials {
    pthread_mutex_t lock; /* buckets and cache */
    struct entry *buckets[BUCKETS];
    struct cached_key cache[CACHE_SLOTS];
    char access_key[129], secret[129]; /* the first long-term key; constant after opening */
};

/* FNV-1a. Keys are random and made by us or by the owner of the file: no caller can choose a bucket. */
static unsigned hash_text(const char *text, size_t len)
{
    unsigned hash = 2166136261u;

    for (size_t i = 0; i < len; i++)
        hash = (hash ^ (unsigned char)text[i]) * 16777619u;
    return hash ^ hash >> 16;
}

static struct entry **find_slot(struct credentials *credentials, const char *access_key, size_t len)
{
    struct entry **at = &credentials->buckets[hash_text(access_key, len) % BUCKETS];

    while (*at && (strlen((*at)->match.principal.access_key) != len ||
                   memcmp((*at)->match.principal.access_key, access_key, len) != 0))
        at = &(*at)->next;
    return at;
}

static void free_entry(struct entry *entry)
{
    OPENSSL_cleanse(entry, sizeof *entry);
    free(entry);
}

struct credentials *credentials_new(void)
{
    struct credentials *credentials = calloc(1, sizeof *credentials);

    if (credentials)
        (void)pthread_mutex_init(&credentials->lock, NULL);
    return credentials;
}

struct credentials *credentials_free(struct credentials *credentials)
{
    if (!credentials)
        return NULL;
    for (size_t i = 0; i < BUCKETS; i++) {
        while (credentials->buckets[i]) {
            struct entry *entry = credentials->buckets[i];

            credentials->buckets[i] = entry->next;
            free_entry(entry);
        }
    }
    (void)pthread_mutex_destroy(&credentials->lock);
    OPENSSL_cleanse(credentials, sizeof *credentials);
    free(credentials);
    return NULL;
}

int credentials_add(struct credentials *credentials, const struct credential_match *match)
{
    const char *access_key = match->principal.access_key;
    struct entry *entry = calloc(1, sizeof *entry), **slot;

    if (!entry)
        return -ENOMEM;
    entry->match = *match;
    (void)pthread_mutex_lock(&credentials->lock);
    slot = find_slot(credentials, access_key, strlen(access_key));
    if (*slot) {
        (void)pthread_mutex_unlock(&credentials->lock);
        free_entry(entry);
        return -EEXIST;
    }
    *slot = entry;
    (void)pthread_mutex_unlock(&credentials->lock);
    return 0;
}

int credentials_find(struct credentials *credentials, const char *access_key, size_t len,
                     struct credential_match *ret_match)
{
    struct entry *entry;

    (void)pthread_mutex_lock(&credentials->lock);
    entry = *find_slot(credentials, access_key, len);
    if (entry)
        *ret_match = entry->match;
    (void)pthread_mutex_unlock(&credentials->lock);
    return entry ? 0 : -ENOENT;
}

void credentials_revoke(struct credentials *credentials, const char *access_key)
{
    struct entry **slot, *entry;

    (void)pthread_mutex_lock(&credentials->lock);
    slot = find_slot(credentials, access_key, strlen(access_key));
    entry = *slot;
    /* A key of the file is not ours to drop. */
    if (entry && entry->match.principal.kind == PRINCIPAL_FUNCTION)
        *slot = entry->next;
    else
        entry = NULL;
    (void)pthread_mutex_unlock(&credentials->lock);
    if (entry)
        free_entry(entry);
}

void credentials_own(const struct credentials *credentials, const char **ret_access_key,
                     const char **ret_secret)
{
    *ret_access_key = credentials->access_key;
    *ret_secret = credentials->secret;
}

int credentials_signing_key(struct credentials *credentials, const struct credential_match *match,
                            const struct sigv4_scope *scope, unsigned char out[SIGV4_HASH_BYTES])
{
    const char *access_key = match->principal.access_key;
    struct cached_key *slot = &credentials->cache[hash_text(access_key, strlen(access_key)) % CACHE_SLOTS];
    bool hit,
        fits = strlen(scope->region) < sizeof slot->region && strlen(scope->service) < sizeof slot->service;
    int result;

    (void)pthread_mutex_lock(&credentials->lock);
    hit = strcmp(slot->access_key, access_key) == 0 && strncmp(slot->date, scope->stamp, 8) == 0 &&
          strcmp(slot->region, scope->region) == 0 && strcmp(slot->service, scope->service) == 0;
    if (hit)
        memcpy(out, slot->key, SIGV4_HASH_BYTES);
    (void)pthread_mutex_unlock(&credentials->lock);
    if (hit)
        return 0;
    result = sigv4_signing_key(match->secret, scope, out);
    if (result < 0 || !fits)
        return result;
    (void)pthread_mutex_lock(&credentials->lock);
    (void)snprintf(slot->access_key, sizeof slot->access_key, "%s", access_key);
    (void)snprintf(slot->date, sizeof slot->date, "%.8s", scope->stamp);
    (void)snprintf(slot->region, sizeof slot->region, "%s", scope->region);
    (void)snprintf(slot->service, sizeof slot->service, "%s", scope->service);
    memcpy(slot->key, out, SIGV4_HASH_BYTES);
    (void)pthread_mutex_unlock(&credentials->lock);
    return 0;
}

/* "AROA" and 17 characters that stay the same for a role, as AWS's unique ids do. */
static void role_id(const char *role_arn, size_t len, char out[22])
{
    char hex[SIGV4_HEX_BYTES];

    sigv4_sha256_hex(role_arn, len, hex);
    (void)snprintf(out, 22, "AROA");
    for (size_t i = 0; i < 17; i++) {
        unsigned high = (unsigned char)hex[2 * i], low = (unsigned char)hex[2 * i + 1];

        out[4 + i] = base32[(high * 31 + low) % 32];
    }
    out[21] = '\0';
}

/* arn:<partition>:iam::<account>:role[/path]/<name> */
static int read_role(const char *role_arn, struct principal *principal, const char **ret_name,
                     size_t *ret_partition)
{
    static const char service[] = ":iam::";
    const char *partition = strncmp(role_arn, "arn:", 4) == 0 ? role_arn + 4 : NULL;
    size_t partition_len = partition ? strcspn(partition, ":") : 0;
    const char *account, *name;

    if (partition_len == 0 || partition_len > 32 || strncmp(partition + partition_len, service, 6) != 0)
        return -EINVAL;
    account = partition + partition_len + 6;
    if (strspn(account, "0123456789") != 12 || strncmp(account + 12, ":role", 5) != 0)
        return -EINVAL;
    name = strrchr(account + 12, '/');
    name = name ? name + 1 : account + 12 + 5;
    if (name[0] == '\0' || strlen(name) > 128)
        return -EINVAL;
    (void)snprintf(principal->account, sizeof principal->account, "%.12s", account);
    *ret_name = name;
    *ret_partition = partition_len;
    return 0;
}

static int function_principal(const char *role_arn, const char *function_name, struct principal *principal)
{
    const char *role = NULL;
    size_t partition_len = 0;
    char id[22];

    if (strlen(role_arn) > 512 || strlen(function_name) > 128 ||
        read_role(role_arn, principal, &role, &partition_len) < 0)
        return -EINVAL;
    principal->kind = PRINCIPAL_FUNCTION;
    (void)snprintf(principal->arn, sizeof principal->arn, "arn:%.*s:sts::%s:assumed-role/%s/%s",
                   (int)partition_len, role_arn + 4, principal->account, role, function_name);
    role_id(role_arn, strlen(role_arn), id);
    (void)snprintf(principal->user_id, sizeof principal->user_id, "%s:%s", id, function_name);
    return 0;
}

int credentials_issue(struct credentials *credentials, const char *role_arn, const char *function_name,
                      uint64_t expires_wall_ms, struct temporary_key *ret_key, struct err *err)
{
    struct credential_match match = { .expires_wall_ms = expires_wall_ms };
    struct temporary_key key = { .access_key = "ASIA" };
    int result;

    if (function_principal(role_arn, function_name, &match.principal) < 0)
        return err_set(err, ERR_INVALID, 0, "role '%.200s' is no ARN of an IAM role", role_arn);
    id_text(base32, ACCESS_KEY_CHARS, key.access_key + 4);
    id_text(base64, SECRET_CHARS, key.secret);
    id_text(base64, TOKEN_CHARS, key.token);
    (void)snprintf(match.principal.access_key, sizeof match.principal.access_key, "%s", key.access_key);
    (void)snprintf(match.secret, sizeof match.secret, "%s", key.secret);
    (void)snprintf(match.token, sizeof match.token, "%s", key.token);
    result = credentials_add(credentials, &match);
    if (result < 0)
        result = err_set(err, ERR_SYSTEM, -result, "temporary credentials");
    else
        *ret_key = key;
    OPENSSL_cleanse(&match, sizeof match);
    OPENSSL_cleanse(&key, sizeof key);
    return result;
}

/* Each profile with a whole key pair may sign. */
struct loading {
    struct credentials *credentials;
    const char *account;
    struct credential_match match; /* of the profile being read */
    size_t count;
    int result;
};

static bool is_access_key(const char *text)
{
    size_t len = strlen(text);

    for (size_t i = 0; i < len; i++) {
        char c = text[i];

        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9')))
            return false;
    }
    return len >= 1 && len <= 128;
}

static void end_profile(struct loading *loading)
{
    struct principal *principal = &loading->match.principal;
    struct credentials *credentials = loading->credentials;
    int result;

    if (is_access_key(principal->access_key) && loading->match.secret[0] != '\0' &&
        loading->count < MAX_FILE_KEYS) {
        principal->kind = PRINCIPAL_ROOT;
        (void)snprintf(principal->account, sizeof principal->account, "%.12s", loading->account);
        (void)snprintf(principal->arn, sizeof principal->arn, "arn:aws:iam::%.12s:root", loading->account);
        (void)snprintf(principal->user_id, sizeof principal->user_id, "%.12s", loading->account);
        result = credentials_add(credentials, &loading->match);
        if (result == -ENOMEM)
            loading->result = result;
        if (loading->count++ == 0) {
            (void)snprintf(credentials->access_key, sizeof credentials->access_key, "%s",
                           principal->access_key);
            (void)snprintf(credentials->secret, sizeof credentials->secret, "%s", loading->match.secret);
        }
    }
    OPENSSL_cleanse(&loading->match, sizeof loading->match);
}

static void on_setting(const char *section, const char *key, const char *value, void *ctx)
{
    struct loading *loading = ctx;
    struct credential_match *match = &loading->match;

    (void)section;
    if (!key)
        end_profile(loading);
    else if (strcmp(key, "aws_access_key_id") == 0 && strlen(value) < sizeof match->principal.access_key)
        (void)snprintf(match->principal.access_key, sizeof match->principal.access_key, "%s", value);
    else if (strcmp(key, "aws_secret_access_key") == 0 && strlen(value) < sizeof match->secret)
        (void)snprintf(match->secret, sizeof match->secret, "%s", value);
}

static int read_file(int fd, struct buf *out)
{
    char chunk[4096];
    ssize_t got = 0;

    while ((got = read(fd, chunk, sizeof chunk)) != 0) {
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return -errno;
        if (buf_append(out, chunk, (size_t)got) < 0)
            return -EFBIG;
    }
    return 0;
}

/* Returns -ENOENT, without an err, when there is no file. */
static int load_file(struct credentials *credentials, int dir_fd, const char *name, const char *account,
                     struct err *err)
{
    AUTO_FD int fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    AUTO_BUF struct buf text = BUF_INIT(MAX_FILE_BYTES);
    struct loading loading = { .credentials = credentials, .account = account };
    struct stat info;
    int result;

    if (fd < 0)
        return errno == ENOENT ? -ENOENT : err_set(err, ERR_SYSTEM, errno, "open %s", name);
    if (fstat(fd, &info) < 0 || !S_ISREG(info.st_mode))
        return err_set(err, ERR_INVALID, 0, "%s is no regular file", name);
    result = read_file(fd, &text);
    if (result < 0)
        return err_set(err, ERR_SYSTEM, -result, "read %s", name);
    ini_read(text.data ? text.data : "", text.len, on_setting, &loading);
    if (text.data)
        OPENSSL_cleanse(text.data, text.len);
    if (loading.result < 0)
        return err_set(err, ERR_SYSTEM, -loading.result, "read %s", name);
    if (loading.count == 0)
        return err_set(err, ERR_INVALID, 0,
                       "%s holds no profile with aws_access_key_id and aws_secret_access_key; repair it, or "
                       "remove it and "
                       "a new one is made",
                       name);
    return 0;
}

static int write_all(int fd, const char *data, size_t len)
{
    while (len > 0) {
        ssize_t sent = write(fd, data, len);

        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0)
            return -errno;
        data += sent;
        len -= (size_t)sent;
    }
    return 0;
}

static int write_file(int dir_fd, const char *name, const struct buf *text, unsigned uid, unsigned gid)
{
    AUTO_FD int fd = openat(dir_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    int result;

    if (fd < 0)
        return -errno;
    result = write_all(fd, text->data, text->len);
    if (result < 0)
        return result;
    if (uid != (unsigned)-1 && fchown(fd, uid, gid) < 0)
        return -errno;
    return fsync(fd) < 0 ? -errno : 0;
}

/* Never replaces: of two servers that start on one folder the first one's keys stay. */
static int make_file(int dir_fd, const char *name, const struct buf *text, unsigned uid, unsigned gid)
{
    char temporary[64], random[17];
    int result;

    id_text(base32, sizeof random - 1, random);
    (void)snprintf(temporary, sizeof temporary, ".credentials.%s", random);
    result = write_file(dir_fd, temporary, text, uid, gid);
    if (result == 0 && linkat(dir_fd, temporary, dir_fd, name, 0) < 0 && errno != EEXIST)
        /* A file system without hard links. */
        result = renameat(dir_fd, temporary, dir_fd, name) < 0 ? -errno : 0;
    (void)unlinkat(dir_fd, temporary, 0);
    if (result == 0 && fsync(dir_fd) < 0 && errno != EINVAL && errno != EBADF)
        result = -errno;
    return result;
}

static int create(int dir_fd, const char *name, const char *region, unsigned uid, unsigned gid)
{
    AUTO_BUF struct buf text = BUF_INIT(4096);
    char access_key[4 + ACCESS_KEY_CHARS + 1] = "AKIA", secret[SECRET_CHARS + 1];
    int result;

    id_text(base32, ACCESS_KEY_CHARS, access_key + 4);
    id_text(base64, SECRET_CHARS, secret);
    for (size_t i = 0; i < 2; i++)
        (void)buf_printf(&text, "%s[%s]\naws_access_key_id = %s\naws_secret_access_key = %s\nregion = %s\n",
                         i > 0 ? "\n" : "", i > 0 ? "irori" : "default", access_key, secret, region);
    OPENSSL_cleanse(secret, sizeof secret);
    if (text.failed)
        return -ENOMEM;
    result = make_file(dir_fd, name, &text, uid, gid);
    OPENSSL_cleanse(text.data, text.len);
    return result;
}

int credentials_open(int dir_fd, const char *name, const char *account, const char *region,
                     unsigned owner_uid, unsigned owner_gid, struct credentials **ret_credentials,
                     struct err *err)
{
    struct credentials *credentials = credentials_new();
    int result;

    if (!credentials)
        return err_set(err, ERR_SYSTEM, ENOMEM, "credentials");
    result = load_file(credentials, dir_fd, name, account, err);
    if (result == -ENOENT) {
        result = create(dir_fd, name, region, owner_uid, owner_gid);
        if (result < 0)
            result = err_set(err, ERR_SYSTEM, -result, "make %s", name);
        else
            result = load_file(credentials, dir_fd, name, account, err);
        if (result == -ENOENT)
            result = err_set(err, ERR_SYSTEM, ENOENT, "open %s", name);
    }
    if (result < 0)
        (void)credentials_free(credentials);
    else
        *ret_credentials = credentials;
    return result;
}
