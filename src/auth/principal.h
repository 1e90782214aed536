#pragma once

/* Who signed a request. */

#include <stdbool.h>

enum principal_kind {
    PRINCIPAL_ROOT,     /* a key of DIR/credentials: may do everything */
    PRINCIPAL_FUNCTION, /* temporary credentials of an environment: may do what resource policies grant */
    PRINCIPAL_NO_AUTH,  /* the server runs with --no-auth */
};

struct principal {
    enum principal_kind kind;
    char access_key[129];
    char account[13];
    char arn[512];     /* arn:aws:iam::<acct>:root, arn:aws:sts::<acct>:assumed-role/<role>/<function> */
    char user_id[160]; /* callerId and userId of function URL events */
};
