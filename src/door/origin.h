#pragma once

/* Requests that a web page has made a browser send. Pure. */

#include "http/parser.h"

/** Why a request that needs no signature is refused all the same: it comes from a web page, or its Host is a
 * name that somebody else may have pointed at this machine. NULL: it is not. Static storage. */
const char *origin_refusal(const struct http_request *request);
