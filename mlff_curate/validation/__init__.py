"""Is what was kept worth training on? Fits, on frames that were held out."""
