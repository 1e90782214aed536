"""What the end-to-end tests share: servers, AWS clients, archives, raw HTTP and the search for leftovers."""
