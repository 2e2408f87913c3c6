"""How this process ends: by a signal, or with the process that started it."""
