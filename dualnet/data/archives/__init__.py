"""What comes from outside: downloads, archives and pickles, none of which is trusted."""
