"""Learn checkpoints from invented song, and compare invented song with recorded."""
