#include "door/origin.h"

#include <arpa/inet.h>
#include <string.h>

#define WHAT_TO_DO                                                                                         \
    "With --no-auth any web page could call this server through the browser of whoever runs it, so such "  \
    "requests are refused. Call http://127.0.0.1 or http://localhost from a program, or start the server " \
    "without --no-auth and sign the requests."

/* Where functions find the machine they run on. */
static const char inside_name[] = "host.irori.internal";

/* Without the port and the brackets of an IPv6 address. */
static struct http_slice host_name(struct http_slice host)
{
    const char *end =
        host.len > 0 && host.at[0] == '[' ? memchr(host.at, ']', host.len) : memchr(host.at, ':', host.len);

    if (!end)
        return host;
    if (*end == ']')
        return (struct http_slice){ host.at + 1, (size_t)(end - host.at) - 1 };
    return (struct http_slice){ host.at, (size_t)(end - host.at) };
}

static bool is_this_machine(struct http_slice host)
{
    struct http_slice name = host_name(host);
    char text[INET6_ADDRSTRLEN] = "";
    struct in6_addr v6;
    struct in_addr v4;

    /* Browsers always name a host. */
    if (host.len == 0 || http_slice_equal_nocase(name, "localhost") ||
        http_slice_equal_nocase(name, inside_name))
        return true;
    if (name.len >= sizeof text)
        return false;
    memcpy(text, name.at, name.len);
    if (inet_pton(AF_INET, text, &v4) == 1)
        return (ntohl(v4.s_addr) >> 24) == 127;
    return inet_pton(AF_INET6, text, &v6) == 1 && IN6_IS_ADDR_LOOPBACK(&v6);
}

const char *origin_refusal(const struct http_request *request)
{
    const struct http_slice *site = http_request_header(request, "Sec-Fetch-Site");

    if (!is_this_machine(request->host))
        return "The Host of the request is not this machine's loopback address. " WHAT_TO_DO;
    if (http_request_header(request, "Origin"))
        return "The request has an Origin header, so a web page sent it. " WHAT_TO_DO;
    if (site && !http_slice_equal(*site, "none") && !http_slice_equal(*site, "same-origin"))
        return "Sec-Fetch-Site says that a web page of another site sent the request. " WHAT_TO_DO;
    return NULL;
}
