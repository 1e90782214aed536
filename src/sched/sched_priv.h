#pragma once

/*
 * Shared inside sched/: the objects and who owns them.
 *
 *   sched ─▶ entry (a function by name) ─▶ picture
 *         ─▶ pool (environments and queue of one version, or of one tenant of it) ─▶ env ─▶ invocation
 *         ─▶ template (of one managed runtime; environments are cloned from it)
 *         ─▶ link (the socket to the launcher)
 *
 * 1. An invocation is in exactly one place: a pool's queue, or an env.
 * 2. An env is in its pool's idle list exactly when its state can take an invocation, and then in sched->lru,
 * too; a reserved one is in neither.
 * 3. A pool lives while it has environments or a queue; an entry while it has a picture or invocations, and
 * for some time after, so that a picture which was made before the deletion and comes after it is known as
 * old.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include <uthash.h>

#include "auth/credentials.h"
#include "base/buf.h"
#include "base/list.h"
#include "base/log.h"
#include "code/cache.h"
#include "runtime/runtime_api.h"
#include "sched/awake.h"
#include "sched/failure.h"
#include "sched/life.h"
#include "sched/report.h"
#include "sched/sched.h"
#include "sched/template_life.h"
#include "wire/wire.h"

#define SANDBOX_HOSTNAME "169-254-100-1"

enum { TEMPLATE_KEY_BYTES = 80, CREDENTIALS_TOKEN_BYTES = 33 };

struct env_vars;
struct link;
struct log_source;
struct log_writer;
struct pool;
struct reservation;
struct template_log;

struct entry {
    char *name;
    struct function *picture; /* NULL once deleted */
    uint64_t sequence;        /* of the last picture, also of a deletion */
    unsigned in_flight;
    bool seen_unused; /* by the last pictures_forget() */
    UT_hash_handle hh;
};

struct url_entry {
    char url_id[33];
    struct entry *entry;
    size_t index;
    UT_hash_handle hh;
};

struct invocation {
    struct list node; /* in pool->queue */
    struct entry *entry;
    struct fn_version *version; /* counted */
    struct blob *event;         /* counted */
    /* In texts; "" when not given. */
    const char *request_id, *invoked_arn, *trace_id, *client_context, *tenant_id;
    bool want_log_tail;
    bool answered;
    bool has_prelude; /* of the result */
    sched_done_fn done;
    void *ctx;
    uint64_t begun_us; /* when the environment got it */
    uint64_t deadline_wall_ms;
    /* What the caller was or will be told. */
    enum sched_outcome outcome;
    const char *status; /* "success", "error", "failure", "timeout" */
    char error_type[64];
    struct buf held; /* the body, when the answer waits for the log tail */
    char texts[];
};

struct pool {
    char *key;             /* config_id, version and tenant */
    const char *tenant_id; /* in key; "" unless the version is per_tenant */
    struct sched *sched;
    struct fn_version *version; /* counted */
    bool current;               /* its version is in the function's picture */
    struct list idle;           /* env->pool_node; the most recently used first */
    struct list queue;          /* invocation->node; the oldest first */
    /* Without reserved environments, but envs counts all. running: have an invocation. */
    unsigned queued, starting, running, responded, envs, reserved;
    unsigned ordinary;              /* so many of the next starts are no clones */
    unsigned peak, peak_before;     /* invocations at once in this and the last window (clean state) */
    uint64_t memory_estimate_bytes; /* of one environment, learned from those measured; 0 = none yet */
    uint64_t waits_since_us;        /* for memory; 0 = it does not. sched_try_again() comes back to it */
    uv_timer_t grace;               /* before an environment is made although one is about to be free */
    bool closing;
    UT_hash_handle hh;
};

struct env {
    struct list pool_node, lru_node;
    struct sched *sched;
    struct pool *pool;
    uint64_t id; /* on the wire */
    char uuid[37];
    char stream[REPORT_STREAM_BYTES];
    enum life_state state;
    struct invocation *invocation;
    struct reservation *reservation; /* reserved.c; NULL: it serves everybody */
    struct runtime_api *api;
    struct log_writer *writer;
    struct buf log;         /* whole lines not yet written, and the tail of an unfinished one */
    struct buf tail;        /* this invocation's lines, with want_log_tail */
    struct list dirty_node; /* in sched->dirty while log holds something */
    int log_fd, memory_usage_fd, memory_stat_fd, memory_peak_fd, pidfd;
    uv_timer_t timer;
    uint64_t rest_ms;              /* of the invocation's time when the timer stands for INIT's share of it */
    struct log_source *log_source; /* env_log.c; NULL when closed */
    struct temporary_key key;
    bool has_key, has_wrapper;
    uint64_t template_id;           /* of the template that it was to be cloned from; 0 = an ordinary start */
    enum runtime_parked parked;     /* where its clone waits */
    int peer_fd;                    /* the clone's end of its connection, until it has read something; -1 */
    bool restored;                  /* its clone has the function's INIT behind it */
    enum code_cache_use code_cache; /* of its first process; NONE again once that is settled */
    char *wake;                     /* what its clone is told; NULL once it was, or when there is none */
    char token[CREDENTIALS_TOKEN_BYTES]; /* with which its processes ask for credentials; "" = they do not */
    uint64_t replace_wall_ms;            /* before the key ends */
    uint64_t created_us, init_begun_us, idle_since_us;
    uint64_t init_us, restore_us; /* of a successful INIT or restore that no REPORT has shown yet */
    uint64_t requests;
    uint64_t estimate_bytes; /* what it is thought to use, while it starts */
    uint64_t memory_bytes, max_memory_bytes, memory_read_us;
    uint64_t memory_peak_bytes; /* file pages included, as of the last sample */
    /* The failure that the event being handled stands for. */
    struct failure failure;
    const struct runtime_result *init_error; /* during that event only */
    const struct wire_exited *exited;        /* likewise */
    uint32_t failed_reason;                  /* enum wire_failure, likewise */
    UT_hash_handle hh;
};

/* Of a runtime: stays while it may come back, that is for good, and there are as many as runtime ids. Of a
 * function's version: as long as a picture has it. */
struct template
{
    struct sched *sched;
    char key[TEMPLATE_KEY_BYTES]; /* the runtime id; of a version as the pool's */
    char name[128];               /* for people */
    char runtime[24];
    struct fn_version *version; /* counted; NULL: of a runtime */
    enum template_state state;
    uint64_t id;    /* on the wire; 0 while the launcher knows none */
    unsigned users; /* versions in pictures */
    uint64_t unused_since_us, since_us, begun_us;
    uv_timer_t timer;
    struct runtime_api *api;  /* until it is captured */
    struct template_log *log; /* template_log.c; NULL when closed */
    char output[4096];        /* its last words */
    size_t output_len, output_logged;
    unsigned failures; /* in a row */
    unsigned deaths;   /* of clones before their first `next`, and clones that could not be made, in a row */
    uint64_t clones, fallbacks, ineligible, failed;
    unsigned sockets;     /* that its process had open when it was captured, and no clone has */
    uint64_t clone_bytes; /* what one of its clones uses, learned; 0 = not known */
    char why[256];        /* of the event being handled */
    char reported[256];   /* the failure that was logged last, likewise the refusal; not again in a row */
    char refused[256];
    char reason[256]; /* the last failure or refusal, for people */
    UT_hash_handle hh;

    /* The first clone: template_proof.c. */
    uint64_t proof_id; /* on the wire; 0 = none */
    int proof_fds[WIRE_MAX_FDS];
    size_t proof_fd_count;

    bool wanted; /* there is something that it would be used for */
    /* Of a version only. */
    bool tried;                 /* it is known whether its INIT works */
    bool init_failed;           /* at the last try */
    bool by_function;           /* the event being handled is the function's own fault */
    enum runtime_parked parked; /* where its process waits */
    char token[CREDENTIALS_TOKEN_BYTES];
    struct temporary_key credentials;
    bool has_credentials;
    struct log_writer *writer;
    struct buf lines; /* not yet written */
};

struct sched {
    struct sched_config config;
    struct link *link;
    struct entry *entries;
    struct url_entry *urls;
    struct pool *pools;
    struct env *envs;           /* by id */
    struct template *templates; /* by key */
    struct list lru;            /* env->lru_node; the longest idle first */
    struct list dirty;
    struct list paused; /* env_log.c: what has written too much for now */
    uint64_t next_env_id;
    unsigned in_flight; /* all of them */
    unsigned in_flight_unreserved, unreserved_limit;
    unsigned starting;
    uint64_t starting_bytes; /* env->estimate_bytes of all that start */
    unsigned tenant_envs;    /* that serve a tenant each, those left out that are ending */
    uint64_t memory_used_bytes, memory_read_us;
    uint64_t memory_settles_us; /* until then what has just ended may still show in the samples */
    int memory_usage_fd, memory_stat_fd;
    struct interpreter {
        char id[24], inside[256];
    } interpreters[16];
    size_t interpreter_count;
    bool ready, stopping;
    bool logs_stale;   /* a function was deleted: its log may be one too many */
    bool caches_stale; /* a function has changed: what was compiled of its code may be of no use */
    void (*on_stopped)(void *ctx);
    void *stopped_ctx;
    uv_timer_t tick; /* memory, deleted functions */
    unsigned ticks;
    uv_timer_t again; /* for those that wait for memory */
    uv_timer_t flush; /* of logs, while dirty or paused is not empty */
    struct awake awake;
    unsigned open_handles;
};

/* sched.c */
void sched_offer(struct env *env);    /* it can take an invocation: gives it one, pools it, or ends it */
void sched_withdraw(struct env *env); /* takes it out of the idle lists */
void sched_template_ready(struct template *template); /* clones can be made */
void sched_env_completed(struct env *env);            /* its invocation is over */
void sched_env_started(struct env *env);              /* STARTING or INIT is over, well or badly */
void sched_start_failed(struct pool *pool, const struct failure *failure, uint32_t reason);
/** Those who wait get this version of the same function instead, which is what they asked for by now. */
void sched_requeue(struct pool *pool, struct fn_version *version);
void sched_env_released(struct env *env); /* dead, and its handles closed */
/** It ends before it has read anything: somebody else serves that invocation (taken), or whoever waits for it
 * (invocation NULL). */
void sched_give_back(struct env *env, struct invocation *invocation);
struct invocation *sched_refuse(struct sched *sched, struct invocation *invocation, const char *reason,
                                const char *text);
void sched_answer(struct sched *sched, struct invocation *invocation, const struct sched_result *result);
struct invocation *sched_invocation_free(struct invocation *invocation);
/** Memory may have become free, or a template is wanted: looks in the next turn of the loop. */
void sched_try_again(struct sched *sched);
void sched_stay_awake(struct sched *sched); /* something is about to come */
void sched_check_stopped(struct sched *sched);
void sched_flush_soon(struct sched *sched); /* something is in sched->dirty */
void sched_on_ready(struct sched *sched);   /* the launcher's READY has come */
/** Path of a runtime's interpreter inside the sandbox; "" when it has none or the machine does not know it.
 */
const char *sched_interpreter(const struct sched *sched, const char *runtime);

/* pictures.c */
void pictures_drop_all(struct sched *sched);
/** Deletes logs of deleted functions beyond the newest ones. */
void pictures_prune_logs(struct sched *sched);
/** Frees the entries that two calls in a row found without use. */
void pictures_forget(struct sched *sched);

/* reserved.c */
/** Starts an environment for this invocation alone, or refuses it. Takes it. */
void reserved_start(struct pool *pool, struct invocation *invocation);
/** Gives it to the environment with that uuid, or refuses it. Takes it. */
void reserved_give(struct sched *sched, const char *uuid, struct invocation *invocation);
void reserved_offer(struct env *env);
/** Its clone ends before it has read anything; when it has ended another one is started for who waits (taken,
 * or NULL: it waits already). */
void reserved_give_back(struct env *env, struct invocation *invocation);
/** It is dead: refuses who waits for it. Frees the reservation. */
void reserved_released(struct env *env);
void reserved_evict_idle(struct pool *pool);
/** fd: taken out when it was used. */
void reserved_on_inspected(struct env *env, const struct wire_message *message, int *fds, size_t fd_count);

/* env.c */
/** reservation: taken; NULL for everybody's. NULL without memory, and then nothing is taken. */
struct env *env_start(struct pool *pool, struct reservation *reservation);
void env_invoke(struct env *env, struct invocation *invocation); /* takes it */
void env_evict(struct env *env);
/** Its credentials end soon: it takes no more invocations. */
bool env_is_old(const struct env *env);
void env_lost(struct env *env);
void env_step(struct env *env, enum life_event event);
/** What the Runtime API of its process tells. */
struct runtime_api_owner env_runtime_owner(struct env *env);

/* env_wire.c: what it asks of the launcher, and what the launcher says */
void env_send(struct env *env, enum wire_type type, uint64_t number);
/** What each START of the version says; the caller adds what is its own. Borrows from the version. */
struct wire_start env_wire_start(const struct fn_version *version);
/** Asks for a process. type: START or RESTART; ordinary: not as a clone. Negative errno when nobody was
 * asked. */
int env_send_start(struct env *env, enum wire_type type, bool ordinary);
void env_on_wire(struct env *env, const struct wire_message *message, int *fds, size_t fd_count);

/* env_clone.c */
/** Says what it is cloned from. ordinary: nothing. */
void env_choose_template(struct env *env, bool ordinary);
/** Makes what its clone is told. */
void env_prepare_wake(struct env *env, const struct env_vars *vars);
/** fds: of STARTED, with WIRE_PARKED; the clone's are taken out. */
void env_wake_clone(struct env *env, int *fds);
/** A clone that waited in invocation/next, before it has answered. */
bool env_is_untried(const struct env *env);
/** True when it is a clone that has not read one byte of what it was given, and now it never will. */
bool env_has_not_begun(struct env *env);

/* env_log.c */
int env_log_open(struct env *env, int fd); /* takes fd */
void env_log_close(struct env *env);       /* after what is left to read */
void env_log_drain(struct env *env); /* what the processes have written up to now, unless it is a flood */
void env_log_resume(struct sched *sched); /* some time has passed */
void env_log_end_line(struct env *env);   /* closes an unfinished line */
void env_log_flush(struct env *env);
struct buf *env_log_platform(struct env *env); /* to append platform lines to; env_log_written() afterwards */
void env_log_written(struct env *env, size_t from);

/* tenants.c */
/** One more environment of this pool, as things are? The limit is on those of all tenants of all functions.
 */
bool tenants_have_room(const struct pool *pool);
/** The same, and evicts the longest idle one of a tenant to make it. */
bool tenants_admit(const struct pool *pool);
/** An environment is about to start; one that was counted is ending. */
void tenants_count_start(const struct pool *pool);
void tenants_count_end(const struct pool *pool);

/* templates.c: what one template does */
void template_step_event(struct template *template, enum template_event event);
/** Texts of others, for people: one line. */
void template_set_text(char *to, size_t size, const char *text, size_t len);
void template_set_why(struct template *template, const char *text);
/** It is known whether the version's INIT works. failure: NULL when it does. */
void template_tell_tried(struct template *template, const char *failure);
void templates_on_wire(struct sched *sched, const struct wire_message *message, int *fds, size_t fd_count);
void templates_on_ready(struct sched *sched);
void templates_lost(struct sched *sched);
void templates_stop(struct sched *sched); /* each ends; sched_check_stopped() as they do */
/** There is none now: makes it, forgets it, or leaves it. */
void template_reconsider(struct template *template);

/* template_use.c: which there are, and what is cloned from them */
struct template *template_find_id(const struct sched *sched, uint64_t id);
/** A picture takes another's place; either may be NULL. */
void templates_follow(struct sched *sched, const struct function *before, const struct function *after);
void templates_end_unused(struct sched *sched);
/** Ends the template that was not used for longest, when memory is short. False when there is none. */
bool templates_yield(struct sched *sched);
/** One is ending: its memory is about to be free. */
bool templates_are_ending(const struct sched *sched);
/** The template that a first start of this version would be cloned from; NULL when there is none. */
struct template *templates_of(const struct sched *sched, const struct fn_version *version);
struct template_choice {
    uint64_t id; /* 0: an ordinary start */
    enum runtime_parked parked;
    bool of_version;
    const char *token; /* borrowed; "" unless of_version */
};
/** What a first start of this version is to be cloned from. */
struct template_choice templates_choose(struct sched *sched, const struct fn_version *version);
void templates_cloned(struct sched *sched, uint64_t id);
/** counted: templates_cloned() was called for it. */
void templates_clone_refused(struct sched *sched, uint64_t id, bool counted, const char *why);
/** A clone came to its first `next`. */
void templates_clone_lives(struct sched *sched, uint64_t id);
/** A clone ended before it had done anything, and not by us. exited: NULL when it stood still. */
void templates_clone_died(struct sched *sched, uint64_t id, const struct wire_exited *exited);

/* template_proof.c: a template's first clone */
/** Asks for it. False when none can be asked for. */
bool template_prove(struct template *template);
void template_end_proof(struct template *template); /* also when there is none */
/** A message about none of them is ignored. */
void template_proof_on_wire(struct sched *sched, const struct wire_message *message, int *fds,
                            size_t fd_count);

/* env_cache.c: what its runtime has compiled */
void env_cache_choose(struct env *env);
/** For the runtime client; NULL for nothing. Static storage. */
const char *env_cache_instruction(const struct env *env);
/** Its part of what the Runtime API tells. */
void env_cache_listen(const struct env *env, struct runtime_api_owner *owner);
/** Its INIT did not succeed: what it was given may be why. */
void env_cache_init_failed(struct env *env);
/** Its process ends. */
void env_cache_done(struct env *env);
/** It is to stay awake for so long when it is idle. */
uint64_t env_cache_linger_ms(const struct env *env);
/** Removes what is of code that no function has any more. */
void env_cache_sweep(struct sched *sched);
/** env.c: it has nothing to stay awake for any more. */
void env_cache_settled(struct env *env);

/* credentials.c */
void credentials_make_token(char out[static CREDENTIALS_TOKEN_BYTES]);
/** What the Runtime API answers to whoever has the token; false to others. */
bool credentials_answer(const char *token, const char *given, size_t len, const struct temporary_key *key,
                        uint64_t expires_wall_ms, struct buf *out);

/* template_log.c */
void template_log_open(struct template *template, int fd); /* takes fd */
void template_log_close(struct template *template);
/** Writes whole lines into the function's log; of a version only. */
void template_log_append(struct template *template, const struct buf *lines);
void template_log_repeat(const struct template *template, enum log_level level); /* the last lines */

/* memory.c */
/** The largest use without file pages, as far as can be told: the kernel's peak counts them, too. */
uint64_t memory_peak(uint64_t sampled, uint64_t peak, uint64_t file_now, uint64_t limit);
/** Not more often than twice a second, unless forced or when the peak has risen. */
void memory_sample_env(struct env *env, bool force);
/** Room for one more environment of this pool as things are? */
bool memory_has_room(struct pool *pool);
bool memory_has_room_for_template(struct sched *sched);
/** An estimate after one more look at a use: the most that was seen, slowly forgotten. One too low could
 * exceed the limit, one too high only waits. */
uint64_t memory_learn(uint64_t estimate, uint64_t peak);
/** What an environment of this pool is likely to use. */
uint64_t memory_estimate(const struct pool *pool);
enum memory_verdict {
    MEMORY_ROOM,
    MEMORY_WAIT, /* not now, but some may be free soon: sched_try_again() is called then */
    MEMORY_FULL,
};
/** For an environment of this pool, and evicts the longest idle ones to make it. */
enum memory_verdict memory_admit(struct pool *pool);
/** It shows in the samples from now on, and is as large as was thought until the next one. */
void memory_env_started(struct env *env);
void memory_sample(struct sched *sched);
/** Evicts the longest idle ones while the last sample is close to the limit. */
void memory_enforce(struct sched *sched);

/* link.c */
struct link *link_new(struct sched *sched, int socket);
struct link *link_free(struct link *link);
/** Queues when the socket is full. Returns 0 or negative errno. */
int link_send(struct link *link, const struct wire_message *message);
