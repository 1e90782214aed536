#pragma once

/*
 * The read-only root that all environments share, and the trees of interpreters that lie outside /usr.
 *
 *   <tmpfs>/root        what a function sees: /usr of the host (without what is local to it), a minimal /etc
 * and /dev, mount points <tmpfs>/lang/<id>   what is mounted at /var/lang for runtime <id>
 *
 * Both are mounted only in the launcher's own mount namespace. Nothing of the host's /etc, /home, /var, /opt
 * or /run is in it except what skeleton.c names. Context: root, at start; blocks for some milliseconds.
 */

struct err;
struct skeleton;

struct skeleton_config {
    const char *resolv_conf, *hosts; /* contents */
    unsigned uid, gid;               /* of the function's user, inside */
};

/** place: an empty folder to mount over (borrowed). */
int skeleton_open(int place, const struct skeleton_config *config, struct skeleton **ret_skeleton,
                  struct err *err);
/** Adds source (folder or file on the host) as /var/lang (target "/var/lang") or below it
 * ("/var/lang/bin/node") for runtime id. The host's installed packages (site-packages, node_modules) are
 * hidden in it. */
int skeleton_add_lang(struct skeleton *skeleton, const char *id, const char *source, const char *target,
                      struct err *err);
/** Makes all of it read-only, for good. */
int skeleton_seal(struct skeleton *skeleton, struct err *err);
/** Folder to start from, as working directory of a new environment's PID 1; borrowed. */
int skeleton_root(const struct skeleton *skeleton);
/** A mount, not attached anywhere, of the runtime's tree, for the caller to close; -ENOENT when it has none.
 */
int skeleton_lang_mount(const struct skeleton *skeleton, const char *id);
/** Unmounts. Accepts NULL; returns NULL. */
struct skeleton *skeleton_close(struct skeleton *skeleton);

/** A read-only mount (nosuid, nodev) of folder/name, not attached anywhere. name is relative and no part of
 * it may be a symbolic link: the folder may belong to somebody less trusted. Returns a descriptor for the
 * caller to close or negative errno. */
int skeleton_bind(int folder, const char *name);
