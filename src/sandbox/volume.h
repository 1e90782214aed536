#pragma once

/*
 * The /tmp of an environment: a sparse ext4 image on a loop device.
 *
 * Not a tmpfs, because its pages would count against MemorySize; not a folder of the host, because that has
 * no size. An image is an unnamed file, so nothing is left of it when its last user goes, however that ends.
 * Images are copied from one that mkfs.ext4 made per size.
 *
 * Context: root; blocks (milliseconds; the first of a size tens of them): call it in the keeper's process
 * only.
 */

#include <stdbool.h>
#include <stdint.h>

struct err;
struct volume_source;
struct volume;

/** scratch: folder for the images (borrowed, must outlive the source). */
int volume_source_new(int scratch, struct volume_source **ret_source, struct err *err);
struct volume_source *volume_source_free(struct volume_source *source);

/** An empty file system with at least size_mb MiB for files, mode 1777. Refused when the folder's file system
 * has less than 5 % and less than 1 GiB free. */
int volume_new(struct volume_source *source, unsigned size_mb, struct volume **ret_volume, struct err *err);
/** A mount of it that is not attached anywhere (nosuid, nodev), for the caller to close. */
int volume_mount(struct volume *volume, int *ret_fd, struct err *err);
/** Whether nothing was ever written, made or removed in it: then the next environment may have it as it is.
 */
bool volume_untouched(const struct volume *volume);
/** How many files and folders lie in it; refused when it may not be copied. See tree.h. */
int volume_measure(const struct volume *volume, unsigned *ret_entries, struct err *err);
/** Copies all of another one into one that is as good as new. */
int volume_fill(struct volume *volume, const struct volume *from, struct err *err);
/** Throws the contents away without writing them back. Accepts NULL; returns NULL. */
struct volume *volume_free(struct volume *volume);

/** Detaches loop devices whose backing file lies in the folder with this absolute path. Returns how many
 * there were. */
unsigned volume_sweep(const char *scratch_path);
