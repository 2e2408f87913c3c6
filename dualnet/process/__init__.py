"""How this process ends: by a signal, or when the process that started it ends."""
