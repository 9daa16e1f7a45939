// Runs a network in the form `ops` in ONNX Runtime.
//
//   g++ -std=c++17 run.cpp -I onnxruntime/include -L onnxruntime/lib -lonnxruntime -o run
//   ./run MODEL.ops.onnx libonnx_bnnprune_ops.so
#include <onnxruntime_cxx_api.h>

#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

int main(int count, char** arguments) {
  if (count != 3) return 2;
  Ort::Env env;
  Ort::SessionOptions options;
#ifdef _WIN32
  std::wstring model(arguments[1], arguments[1] + strlen(arguments[1]));
  std::wstring library(arguments[2], arguments[2] + strlen(arguments[2]));
  options.RegisterCustomOpsLibrary(library.c_str());
#else
  const char* model = arguments[1];
  options.RegisterCustomOpsLibrary(arguments[2]);
#endif
#ifdef _WIN32
  Ort::Session session(env, model.c_str(), options);
#else
  Ort::Session session(env, model, options);
#endif
  Ort::AllocatorWithDefaultOptions allocator;
  auto in = session.GetInputNameAllocated(0, allocator);
  auto out = session.GetOutputNameAllocated(0, allocator);
  auto shape = session.GetInputTypeInfo(0).GetTensorTypeAndShapeInfo().GetShape();
  size_t elements = 1;
  for (auto& d : shape) elements *= d = d < 1 ? 1 : d;
  std::vector<float> image(elements);
  auto memory = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
  auto x = Ort::Value::CreateTensor<float>(memory, image.data(), image.size(), shape.data(), shape.size());
  const char *inputs[] = {in.get()}, *outputs[] = {out.get()};
  auto y = session.Run(Ort::RunOptions{nullptr}, inputs, &x, 1, outputs, 1);
  const float* logits = y[0].GetTensorData<float>();
  for (size_t i = 0; i < y[0].GetTensorTypeAndShapeInfo().GetElementCount(); ++i) std::printf("%g ", logits[i]);
  std::printf("\n");
}
