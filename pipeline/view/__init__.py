"""What a notebook shows of runs and recordings: HTML with players and pictures. Takes plain values, imports matplotlib
only when a picture is drawn."""
