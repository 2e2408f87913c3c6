"""What a start of a piece leaves behind: when, where and with what it trained, and how it ended."""
