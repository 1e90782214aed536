#pragma once

/* The scheduler against a launcher and a runtime that the test plays. Include cmocka.h first. */

#include <stdbool.h>
#include <stdint.h>

#include "sched/sched_priv.h"
#include "wire/wire.h"

enum { ANSWERS_MAX = 16, TURNS = 2000 };

struct world {
    uv_loop_t loop;
    char folder[64];
    int folder_fd;
    struct credentials *credentials;
    struct logs *logs;
    struct sched *sched;
    int launcher; /* the launcher's end */
    uint64_t sequence;
    bool stopped;
    unsigned answers;
    enum sched_outcome outcomes[ANSWERS_MAX];
    char bodies[ANSWERS_MAX][128];
    char environment[40];               /* of the last answer, when that was a reserved one's */
    int runtime;                        /* a connection to the Runtime API */
    int output;                         /* the runtime's stdout */
    unsigned tries;                     /* of versions whose snapshot is pending */
    char tried[128];                    /* the last one's failure */
    bool clean, snap_start, per_tenant; /* the next pictures' versions */
    int peak; /* the environment's memory peak, as a file; -1: the launcher sends none */
};

/* Of the last START. */
extern struct last_start {
    uint64_t template_id;
    uint32_t flags, uid_index;
    char code[65], handler[64];
} start;

void turn(struct world *w);
void send_message(struct world *w, const struct wire_message *message, const int *fds, size_t count);
void connect_launcher(struct world *w);
uint64_t expect_message(struct world *w, enum wire_type type);
void expect_silence(struct world *w);
void put_full(struct world *w, const char *name, const char *runtime, int reserved, const char *config_id,
              bool deleted);
void put_as(struct world *w, const char *runtime, int reserved, const char *config_id, bool deleted);
void put_function(struct world *w, const char *name, int reserved, const char *config_id, bool deleted);
void put(struct world *w, int reserved, const char *config_id, bool deleted);
void invoke_function(struct world *w, const char *name);
void invoke(struct world *w);
void invoke_tenant(struct world *w, const char *tenant_id);
void invoke_in(struct world *w, const char *name, const char *environment);
void invoke_tenant_in(struct world *w, const char *tenant_id, const char *environment);
void expect_answer(const struct world *w, unsigned at, enum sched_outcome outcome, const char *text);
int set_up(void **state);
void on_stopped(void *ctx); /* of sched_stop(); ctx: the world */
int tear_down(void **state);
void started(struct world *w, uint64_t id);
void started_parked(struct world *w, uint64_t id);
void expect_text(struct world *w, const char *text);
void call(struct world *w, const char *method, const char *path, const char *body);
void simple(struct world *w, enum wire_type type, uint64_t id);
void failed(struct world *w, uint64_t id, enum wire_failure why);
uint64_t make_warm(struct world *w);
void captured(struct world *w, uint64_t id, uint64_t refused);
void captured_with(struct world *w, uint64_t id, uint64_t refused, const char *text);
void proven(struct world *w, uint64_t template_id);
void send_memory_files(struct world *w, int fds[2]);
void write_memory(const int fds[2], unsigned usage_mb, unsigned file_mb);
void give_memory(struct world *w, int fds[2], unsigned usage_mb, unsigned limit_mb);
void close_memory(int fds[2]);
void expect_listed(struct world *w, const char *text);

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
