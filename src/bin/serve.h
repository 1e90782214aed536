#pragma once

/*
 * `irori serve`: prepares what needs root, starts irorid and irori-launcher, connects them, and keeps both
 * running.
 *
 * When the launcher dies, irorid keeps its callers and gets a new launcher; when irorid dies, its launcher
 * cleans up and both are started anew. The listening socket is held here, so that nobody is refused in
 * between.
 */

int serve_main(int argc, char **argv);
