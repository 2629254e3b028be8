"""Crystal graph convolutional neural networks: the property model as published."""
