"""Train, judge, publish and use image VAEs."""
