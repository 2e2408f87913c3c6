"""LSTM and RNN, which run a cell over time steps, and LSTMUnit, a single step."""
