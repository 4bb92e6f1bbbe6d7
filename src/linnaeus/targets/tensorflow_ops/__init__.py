"""A converter of our own from ONNX to TensorFlow's operations: no maintained one does it (see docs/decisions.md)."""
