#pragma once

/*
 * Templates and the slots in their namespaces. See docs/templates.md.
 *
 * A template begins as an ordinary environment whose program waits in `next`: adopted (its init outlives the
 * program), captured (template/capture.h), and from then on an image that makes clones. A clone lives in a
 * slot of the template's family: a slot whose namespaces were made inside the template's, because only those
 * may its image enter.
 *
 *   ADOPTING ──▶ CAPTURING ──▶ MEASURING ──▶ READY ──▶ ENDED
 *
 * What lies in /tmp is looked at twice: before, so that a process that cannot become a template goes on, and
 * in MEASURING, when nobody writes there any more. ENDED stays until the last slot of the family is free,
 * which then is an ordinary one.
 *
 * A clone of a slot: HOLDING (its init prepares) ──▶ ASKED (the image works) ──▶ MADE
 */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/list.h"
#include "launcher/launcher_priv.h"
#include "template/capture.h"

enum template_state {
    TEMPLATE_ADOPTING,
    TEMPLATE_CAPTURING,
    TEMPLATE_MEASURING,
    TEMPLATE_READY,
    TEMPLATE_ENDED
};

enum { TEMPLATE_EARLY = 64 };

struct template
{
    struct list node; /* in launcher.templates */
    struct launcher *launcher;
    struct slot *slot; /* its own */
    enum template_state state;
    bool program_ended; /* before it was a template, with this status of waitpid() */
    int program_status;
    unsigned tmp_entries;  /* that INIT has left in /tmp and clones get a copy of */
    unsigned dead_sockets; /* connections that clones find closed */
    bool serves_all;       /* a runtime template: the ids of all functions are mapped in it */
    uint64_t secret[2];
    uint64_t log_inode; /* of the pipe that the program was given as its output; 0 = not known */
    struct template_capture capture;
    int control;
    struct watch on_capture, on_image;
    struct list ready, cold;    /* free slots of its family */
    unsigned slot_count;        /* of its family */
    struct list asked;          /* slot.clone.node */
    uint64_t requests, replies; /* so far: the image answers in order, also what nobody waits for any more */
    /* Children whose end was told before the image had told their number, and how many requests there were by
     * then: numbers come again, but a clone asked for later is another child. */
    struct {
        int32_t pid, status;
        uint64_t requests;
    } early[TEMPLATE_EARLY];
    unsigned early_at;
};

/** The template of an environment; NULL when it is none that is ready. */
struct template *template_find(const struct launcher *launcher, uint64_t env_id);
/** At the START of an environment that is to become a template: draws its secret. NULL without memory. */
struct template *template_new(struct slot *slot);
/** Its program starts: notes what it is given. */
void template_on_launch(struct slot *slot);
/** CAPTURE; answered with CAPTURED. */
void template_begin(struct slot *slot);
/** No more clones. Returns true when the slot may be killed at once; else that happens when the family is
 * empty, and GONE is due now. */
bool template_retire(struct template *template);
/** Its own slot's processes have ended, or the launcher ends. templates_bury() frees it. */
void template_drop(struct template *template);
/** Frees those that were dropped; not from a handler. */
void templates_bury(struct launcher *launcher);

/** What lies in its /tmp; why: it cannot be copied, NULL = it can. */
void template_on_measured(struct slot *slot, const char *why, unsigned entries);
/** A report of the init of a template's own slot. */
void template_on_report(struct slot *slot, const struct control_report *report);
/** Asks the image for a clone in the slot, whose init holds. Returns 0, or negative with slot.why. */
int template_ask(struct slot *slot);
/** The slot's init holds. */
void template_on_held(struct slot *slot);
/** Gives up what is on its way; also when nothing is. */
void template_forget_clone(struct slot *slot);

/** A new slot of the family; slow. */
struct slot *template_add_slot(struct template *template, struct err *err);
/** A free slot without processes becomes an ordinary one. */
void template_release_slot(struct slot *slot);
/** Takes a free slot from some family when there is no other; NULL when there is none now: those that are
 * given_away come when their processes have ended. */
struct slot *template_take_slot(struct launcher *launcher);
/** Gives away free slots of families until so many are on their way; those without processes are ordinary
 * ones at once. */
void template_give_slots(struct launcher *launcher, unsigned wanted);
