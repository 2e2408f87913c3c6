"""Who is there in a run: manifest, lease, heartbeat."""
