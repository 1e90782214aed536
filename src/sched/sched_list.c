/*
 * What `irori ps` is told of the environments.
 */

#include "base/buf.h"
#include "base/clock.h"
#include "model/function.h"
#include "sched/sched_priv.h"

static void list_one(const struct env *env, struct buf *out)
{
    uint64_t now = clock_us();
    const struct fn_version *version = env->pool->version;
    const char *tenant_id = env->pool->tenant_id;

    (void)buf_printf(
        out, "{\"id\":\"%s\",\"function\":\"%s\",\"version\":\"%s\",\"runtime\":\"%s\",\"state\":\"%s\",",
        env->uuid, version->function_name, version->version, version->runtime, life_state_name(env->state));
    if (*tenant_id) {
        (void)buf_puts(out, "\"tenantId\":");
        (void)buf_json_string(out, tenant_id, strlen(tenant_id));
        (void)buf_putc(out, ',');
    }
    (void)buf_printf(
        out,
        "\"ageMs\":%llu,\"idleMs\":%llu,\"requests\":%llu,\"memoryBytes\":%llu,\"start\":\"%s\",\"cloneOf\":"
        "\"%s\",\"reserved\":%s}",
        (unsigned long long)((now - env->created_us) / 1000),
        (unsigned long long)(life_has_invocation(env->state) ? 0 : (now - env->idle_since_us) / 1000),
        (unsigned long long)env->requests, (unsigned long long)env->memory_bytes,
        env->requests + life_has_invocation(env->state) > 1 ? "warm" : "cold",
        env->restored           ? "version"
        : env->template_id != 0 ? "runtime"
                                : "",
        env->reservation ? "true" : "false");
}

void sched_list(const struct sched *sched, struct buf *out)
{
    struct env *env, *env_next;
    const char *comma = "";

    (void)buf_puts(out, "{\"environments\":[");
    HASH_ITER(hh, sched->envs, env, env_next)
    {
        (void)buf_puts(out, comma);
        memory_sample_env(env, true);
        list_one(env, out);
        comma = ",";
    }
    (void)buf_puts(out, "]}");
}
