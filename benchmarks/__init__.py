"""What authentication costs per request: asgi-auth beside what people use today. Run `python -m benchmarks`."""
