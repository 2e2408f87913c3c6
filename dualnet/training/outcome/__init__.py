"""What is made of a finished run: its accuracy, one merged model, a digest."""
