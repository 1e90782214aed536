/* A function with eight threads made during INIT, all of which must answer before the event is. */
#include <pthread.h>

#include "runtime.h"

enum { THREADS = 8 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static unsigned round_number, answered;
static __thread unsigned own_round; /* in memory that the thread pointer finds */

static void *work(void *unused)
{
    pthread_mutex_lock(&lock);
    for (;;) {
        while (round_number == own_round)
            pthread_cond_wait(&changed, &lock);
        own_round++;
        answered++;
        pthread_cond_broadcast(&changed);
    }
    return unused;
}

int main(void)
{
    for (int i = 0; i < THREADS; i++) {
        pthread_t thread;

        if (pthread_create(&thread, NULL, work, NULL) != 0)
            return 80;
    }
    for (;;) {
        static struct invocation in;
        static char copy[65536];

        rt_next(&in);
        memcpy(copy, in.body, in.len < sizeof copy ? in.len : sizeof copy);
        pthread_mutex_lock(&lock);
        round_number++;
        answered = 0;
        pthread_cond_broadcast(&changed);
        while (answered < THREADS)
            pthread_cond_wait(&changed, &lock);
        pthread_mutex_unlock(&lock);
        if (rt_post(&in, "response", copy, in.len) != 202)
            return 95;
    }
}
