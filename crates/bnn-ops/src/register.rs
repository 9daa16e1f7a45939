//! The entry point, and the functions that ONNX Runtime calls.

use std::ffi::{c_char, c_int, c_void};
use std::ptr;
use std::sync::Mutex;

use ort_sys::{
    ONNXTensorElementDataType, ORT_API_VERSION, OrtApi, OrtApiBase, OrtCustomOp, OrtCustomOpDomain,
    OrtCustomOpInputOutputCharacteristic, OrtKernelContext, OrtKernelInfo, OrtMemType,
    OrtSessionOptions, OrtShapeInferContext, OrtStatusPtr,
};

use crate::definition::{Kernel, Operator, Port};
use crate::operators::OPERATORS;
use crate::runtime::{Api, Context, Element, Error, Info, ShapeContext};

/// Version of the interface that is asked for: every later ONNX Runtime has it.
const API: u32 = 17;
const _: () = assert!(
    ORT_API_VERSION == API,
    "the table of functions is that of version 17"
);

/// [`crate::DOMAIN`], for C.
const DOMAIN: &std::ffi::CStr = c"onnx-bnnprune/docs/operators.md";

/// An operator as the runtime sees it: `base` comes first, so that a pointer to it is one to this.
#[repr(C)]
struct Entry {
    base: OrtCustomOp,
    operator: &'static dyn Operator,
    api: Api,
}

/// What the runtime holds of a node.
struct Held {
    kernel: Box<dyn Kernel>,
    api: Api,
}

/// What is registered, with the table of functions of the runtime that it is registered with.
struct Registered {
    api: *const OrtApi,
    domain: *mut OrtCustomOpDomain,
}

// SAFETY: both live as long as the process; the runtime reads the domain only.
unsafe impl Send for Registered {}

/// One for each runtime of the process, made once: sessions share it, and it lives as long as this library, which
/// stays loaded.
static REGISTERED: Mutex<Vec<Registered>> = Mutex::new(Vec::new());

/// Adds the operators to a session's options: what ONNX Runtime calls for `RegisterCustomOpsLibrary`.
///
/// Gives a status with the reason where the runtime is older than 1.17, or null where it is too old even for that.
///
/// # Safety
/// `options` and `base` are ONNX Runtime's.
#[unsafe(no_mangle)]
#[allow(non_snake_case, reason = "the name that ONNX Runtime looks for")]
pub unsafe extern "system" fn RegisterCustomOps(
    options: *mut OrtSessionOptions,
    base: *const OrtApiBase,
) -> OrtStatusPtr {
    // SAFETY: the runtime's own table; a version that it does not know gives null.
    let api = unsafe { base.as_ref().and_then(|base| Api::new((base.GetApi)(API))) };
    let Some(api) = api else {
        return too_old(base);
    };
    api.answer(|| {
        let domain = domain(api)?;
        // SAFETY: the options are the runtime's, the domain lives as long as the process.
        unsafe { api.check((api.table().AddCustomOpDomain)(options, domain)) }
    })
}

/// An error that also a runtime without version 17 of the interface can read.
fn too_old(base: *const OrtApiBase) -> OrtStatusPtr {
    // SAFETY: tables of functions grow at their end, so that of version 1 has what makes a status.
    unsafe {
        let api = base.as_ref().and_then(|base| Api::new((base.GetApi)(1)));
        match api {
            Some(api) => api.status(Err(Error(format!(
                "{}: needs ONNX Runtime 1.17 or later",
                crate::DOMAIN
            )))),
            None => OrtStatusPtr::default(),
        }
    }
}

/// The domain for this runtime.
fn domain(api: Api) -> Result<*mut OrtCustomOpDomain, Error> {
    let mut all = REGISTERED
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner());
    if let Some(known) = all.iter().find(|r| ptr::eq(r.api, api.table())) {
        return Ok(known.domain);
    }
    let (table, mut domain) = (api.table(), ptr::null_mut());
    // SAFETY: the name ends in a zero and is copied; entries are never freed, as the domain keeps pointers to them.
    unsafe {
        api.check((table.CreateCustomOpDomain)(DOMAIN.as_ptr(), &mut domain))?;
        for &operator in OPERATORS {
            let base = callbacks();
            let entry: &'static Entry = Box::leak(Box::new(Entry {
                base,
                operator,
                api,
            }));
            api.check((table.CustomOpDomain_Add)(
                domain,
                (&raw const *entry).cast(),
            ))?;
        }
    }
    all.push(Registered { api: table, domain });
    Ok(domain)
}

fn callbacks() -> OrtCustomOp {
    OrtCustomOp {
        version: API,
        CreateKernel: None,
        GetName: Some(name),
        GetExecutionProviderType: Some(provider),
        GetInputType: Some(input_type),
        GetInputTypeCount: Some(input_count),
        GetOutputType: Some(output_type),
        GetOutputTypeCount: Some(output_count),
        KernelCompute: None,
        KernelDestroy: Some(destroy),
        GetInputCharacteristic: Some(input_characteristic),
        GetOutputCharacteristic: Some(output_characteristic),
        GetInputMemoryType: Some(memory_type),
        GetVariadicInputMinArity: Some(one),
        GetVariadicInputHomogeneity: Some(one),
        GetVariadicOutputMinArity: Some(one),
        GetVariadicOutputHomogeneity: Some(one),
        CreateKernelV2: Some(create),
        KernelComputeV2: Some(compute),
        InferOutputShapeFn: Some(infer),
        GetStartVersion: Some(one),
        GetEndVersion: Some(one),
    }
}

/// # Safety
/// `op` is the `base` of an [`Entry`], which lives as long as the process.
unsafe fn entry(op: *const OrtCustomOp) -> &'static Entry {
    // SAFETY: what the caller promises; `base` is the first field.
    unsafe { &*op.cast::<Entry>() }
}

/// Of which ports of an operator.
#[derive(Clone, Copy)]
enum Side {
    Inputs,
    Outputs,
}

/// # Safety
/// As for [`entry`].
unsafe fn ports(op: *const OrtCustomOp, side: Side) -> &'static [Port] {
    // SAFETY: what the caller promises.
    let operator = unsafe { entry(op) }.operator;
    match side {
        Side::Outputs => operator.outputs(),
        Side::Inputs => operator.inputs(),
    }
}

unsafe extern "system" fn name(op: *const OrtCustomOp) -> *const c_char {
    // SAFETY: the runtime hands over what it was given.
    unsafe { entry(op) }.operator.name().as_ptr()
}

/// The CPU's.
unsafe extern "system" fn provider(_: *const OrtCustomOp) -> *const c_char {
    ptr::null()
}

fn element(ports: &[Port], index: usize) -> ONNXTensorElementDataType {
    match ports.get(index).map(|port| port.element) {
        Some(Element::F32) => ONNXTensorElementDataType::ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT,
        Some(Element::U8) => ONNXTensorElementDataType::ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8,
        Some(Element::I32) => ONNXTensorElementDataType::ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32,
        None => ONNXTensorElementDataType::ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED,
    }
}

fn characteristic(ports: &[Port], index: usize) -> OrtCustomOpInputOutputCharacteristic {
    match ports.get(index).is_some_and(|port| port.optional) {
        true => OrtCustomOpInputOutputCharacteristic::INPUT_OUTPUT_OPTIONAL,
        false => OrtCustomOpInputOutputCharacteristic::INPUT_OUTPUT_REQUIRED,
    }
}

unsafe extern "system" fn input_type(
    op: *const OrtCustomOp,
    index: usize,
) -> ONNXTensorElementDataType {
    // SAFETY: the runtime hands over what it was given.
    element(unsafe { ports(op, Side::Inputs) }, index)
}

unsafe extern "system" fn input_count(op: *const OrtCustomOp) -> usize {
    // SAFETY: as above.
    unsafe { ports(op, Side::Inputs) }.len()
}

unsafe extern "system" fn output_type(
    op: *const OrtCustomOp,
    index: usize,
) -> ONNXTensorElementDataType {
    // SAFETY: as above.
    element(unsafe { ports(op, Side::Outputs) }, index)
}

unsafe extern "system" fn output_count(op: *const OrtCustomOp) -> usize {
    // SAFETY: as above.
    unsafe { ports(op, Side::Outputs) }.len()
}

unsafe extern "system" fn input_characteristic(
    op: *const OrtCustomOp,
    index: usize,
) -> OrtCustomOpInputOutputCharacteristic {
    // SAFETY: as above.
    characteristic(unsafe { ports(op, Side::Inputs) }, index)
}

unsafe extern "system" fn output_characteristic(
    op: *const OrtCustomOp,
    index: usize,
) -> OrtCustomOpInputOutputCharacteristic {
    // SAFETY: as above.
    characteristic(unsafe { ports(op, Side::Outputs) }, index)
}

unsafe extern "system" fn memory_type(_: *const OrtCustomOp, _: usize) -> OrtMemType {
    OrtMemType::OrtMemTypeDefault
}

unsafe extern "system" fn one(_: *const OrtCustomOp) -> c_int {
    1
}

unsafe extern "system" fn infer(
    op: *const OrtCustomOp,
    context: *mut OrtShapeInferContext,
) -> OrtStatusPtr {
    // SAFETY: the runtime hands over what it was given, and a context of its own.
    let (entry, node) = unsafe {
        let entry = entry(op);
        (entry, ShapeContext::new(entry.api, context))
    };
    entry.api.answer(|| entry.operator.infer(&node))
}

unsafe extern "system" fn create(
    op: *const OrtCustomOp,
    api: *const OrtApi,
    info: *const OrtKernelInfo,
    kernel: *mut *mut c_void,
) -> OrtStatusPtr {
    // SAFETY: the runtime hands over what it was given, its table, the node, and a place for the kernel.
    let (entry, api) = unsafe { (entry(op), Api::new(api)) };
    let api = api.unwrap_or(entry.api);
    api.answer(|| {
        // SAFETY: as above; the place is written, and what is put there comes back to `destroy`.
        unsafe {
            let node = Info::new(api, info);
            let made = entry.operator.kernel(&node).map_err(|Error(why)| {
                let operator = entry.operator.name().to_string_lossy();
                Error(format!("{operator} '{}': {why}", node.name()))
            });
            *kernel = Box::into_raw(Box::new(Held { kernel: made?, api })).cast();
        }
        Ok(())
    })
}

unsafe extern "system" fn compute(
    kernel: *mut c_void,
    context: *mut OrtKernelContext,
) -> OrtStatusPtr {
    // SAFETY: what `create` made and `destroy` has not yet taken; it is shared by threads, and `Kernel` is `Sync`.
    let held = unsafe { &*kernel.cast::<Held>() };
    // SAFETY: the runtime's context of this run.
    let node = unsafe { Context::new(held.api, context) };
    held.api.answer(|| held.kernel.run(&node))
}

unsafe extern "system" fn destroy(kernel: *mut c_void) {
    if kernel.is_null() {
        return;
    }
    // SAFETY: what `create` made, handed over for the last time.
    let held = unsafe { Box::from_raw(kernel.cast::<Held>()) };
    let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(held)));
}
