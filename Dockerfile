# The command and the Python package, with ONNX Runtime:
#   docker build -t onnx-bnnprune .
#   docker run --rm -v "$PWD:/work" onnx-bnnprune in.onnx out.onnx --data images/
FROM rust:1.92-slim-bookworm AS build
RUN apt-get update && apt-get install -y --no-install-recommends python3-venv \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /source
COPY . .
RUN scripts/wheel.sh --out /wheels

FROM python:3.12-slim-bookworm
COPY --from=build /wheels /wheels
RUN pip install --no-cache-dir "$(echo /wheels/*.whl)[all]" && rm -r /wheels \
    && useradd --create-home user
USER user
WORKDIR /work
ENTRYPOINT ["onnx-bnnprune"]
