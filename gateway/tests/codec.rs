//! The codec: tables of what is accepted and refused, and properties over every datatype.
#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use millstream_gateway::codec::{
    BinaryOutputs, CodecError, Datatype, contents, payload, request_from_json, request_to_json, response_from_json, response_to_json,
    response_to_rest, validate,
};
use millstream_proto::inference::{
    InferTensorContents, ModelInferRequest, ModelInferResponse, infer_parameter::ParameterChoice, model_infer_request::InferInputTensor,
    model_infer_response::InferOutputTensor,
};
use proptest::prelude::*;
use prost::Message;

fn request(json: &str) -> Result<ModelInferRequest, CodecError> {
    request_from_json(&Bytes::copy_from_slice(json.as_bytes()), None).map(|d| d.request)
}

fn one(datatype: &str, shape: &str, data: &str) -> String {
    format!(r#"{{"inputs":[{{"name":"X","datatype":"{datatype}","shape":{shape},"data":{data}}}]}}"#)
}

fn data_of(json: &[u8]) -> String {
    let text = std::str::from_utf8(json).unwrap();
    let (_, rest) = text.split_once("\"data\":").unwrap();
    rest.split_once(",\"name\"").unwrap().0.to_owned()
}

#[test]
fn data_comes_back_as_it_was() {
    for (datatype, shape, data) in [
        ("INT64", "[3]", "[9007199254740993,-9223372036854775808,9223372036854775807]"),
        ("UINT64", "[2]", "[18446744073709551615,9007199254740993]"),
        ("INT8", "[2]", "[-128,127]"),
        ("UINT8", "[2]", "[0,255]"),
        ("INT16", "[2]", "[-32768,32767]"),
        ("UINT16", "[1]", "[65535]"),
        ("INT32", "[1]", "[-2147483648]"),
        ("UINT32", "[1]", "[4294967295]"),
        ("BOOL", "[2]", "[true,false]"),
        ("FP32", "[3]", "[0.1,-3.4028235e+38,1.0]"),
        ("FP64", "[2]", "[0.1,1.7976931348623157e+308]"),
        ("FP64", "[3]", r#"["NaN","Infinity","-Infinity"]"#),
        ("FP32", "[3]", r#"["NaN","Infinity","-Infinity"]"#),
        ("FP16", "[3]", "[65504.0,0.5,-1.0]"),
        ("BF16", "[2]", "[1.0,-0.5]"),
        ("BYTES", "[4]", r#"["plain","ünï","quote\"\\\n","€"]"#),
        ("FP32", "[0]", "[]"),
    ] {
        let decoded = request(&one(datatype, shape, data)).unwrap_or_else(|e| panic!("{datatype} {data}: {e}"));
        assert_eq!(decoded.raw_input_contents.is_empty(), !matches!(datatype, "FP16" | "BF16"), "{datatype}");
        validate(&decoded).unwrap();
        assert_eq!(data_of(&request_to_json(&decoded).unwrap()), data, "{datatype}");
    }
}

#[test]
fn nested_and_flat_data_are_the_same() {
    let flat = request(&one("INT32", "[2,3]", "[1,2,3,4,5,6]")).unwrap();
    for data in ["[[1,2,3],[4,5,6]]", " [ [1, 2,3] ,\n [4,5,6] ] ", "[[[1,2,3,4,5,6]]]", "[1.0,2e0,3,4,5,6]"] {
        assert_eq!(request(&one("INT32", "[2,3]", data)).unwrap(), flat, "{data}");
    }
    assert_eq!(request(&one("FP32", "[]", "5")).unwrap().inputs[0].contents.as_ref().unwrap().fp32_contents, [5.0]);
}

#[test]
fn what_is_wrong_is_said_with_its_place() {
    for (json, expected) in [
        (r#"{"inputs":[}"#.into(), "malformed JSON: expected value at line 1 column 12"),
        (r#"{"inputs":[{"name":"X"}]}"#.into(), "not an inference request: missing field `datatype` at line 1 column 23"),
        ("{}".into(), "not an inference request: it has no field `inputs`, the list of its tensors"),
        (one("INT33", "[1]", "[1]"), "tensor X: unknown datatype \"INT33\": did you mean INT32?"),
        (one("FLOAT", "[1]", "[1]"), "tensor X: unknown datatype \"FLOAT\": use one of BOOL"),
        (one("int32", "[1]", "[1]"), "tensor X: unknown datatype \"int32\": did you mean INT32?"),
        (one("INT32", "[2]", "[1]"), "tensor X: shape [2] takes 2 elements, data has 1"),
        (one("INT32", "[-1]", "[1]"), "tensor X: dimension -1 in shape [-1]: state the actual size of every dimension"),
        (one("INT32", "[4611686018427387904,4]", "[1]"), "tensor X: shape [4611686018427387904, 4] is larger than any memory"),
        (
            one("INT32", "[2,2]", "[[1,2,3],[4]]"),
            "tensor X: a list that ends at line 1 column 71 has 3 elements, dimension 1 of shape [2, 2] says 2",
        ),
        (one("INT32", "[2]", "[1,\n 1.5]"), "tensor X: 1.5 at line 2 column 2 is no INT32"),
        (one("INT8", "[1]", "[128]"), "tensor X: 128 at line 1 column 62 is no INT8"),
        (one("UINT8", "[1]", "[-1]"), "tensor X: -1 at line 1 column 63 is no UINT8"),
        (one("UINT64", "[1]", "[18446744073709551616]"), "is no UINT64"),
        (one("FP32", "[1]", "[1e39]"), "tensor X: 1e39 at line 1 column 62 is no FP32"),
        (one("FP16", "[1]", "[65520]"), "is no FP16"),
        (one("FP64", "[1]", "[null]"), "tensor X: null at line 1 column 62 is no FP64"),
        (one("BOOL", "[1]", "[\"true\"]"), "is no BOOL"),
        (one("BYTES", "[1]", "[1]"), "is no BYTES"),
        (one("INT32", "[1]", "[{\"a\":1}]"), "tensor X: { at line 1 column 63 is no INT32"),
        (r#"{"inputs":[{"name":"X","datatype":"FP32","shape":[1]}]}"#.into(), "tensor X: it has no `data`"),
        (
            r#"{"inputs":[{"name":"X","datatype":"BOOL","shape":[0],"data":[]},{"name":"X","datatype":"BOOL","shape":[0],"data":[]}]}"#
                .into(),
            "tensor X: there are two of this name",
        ),
        (r#"{"parameters":{"p":1.5},"inputs":[]}"#.into(), "parameter p: 1.5 is no whole number of 64 bits: use a string"),
        (r#"{"parameters":{"p":{}},"inputs":[]}"#.into(), "parameter p: lists and objects cannot be parameters: use a string"),
        (
            r#"{"inputs":[],"outputs":[{"nme":"Y"}]}"#.into(),
            "not an inference request: missing field `name` in `outputs`, which begins at line 1 column 24",
        ),
    ] {
        let error = request(&json).expect_err(&json).to_string();
        assert!(error.contains(expected), "{json}\n  says    {error}\n  not     {expected}");
    }
}

#[test]
fn id_parameters_and_requested_outputs_are_kept() {
    let json = r#"{"id":"42","parameters":{"s":"x","n":-9007199254740993,"b":true,"nothing":null},
        "inputs":[{"name":"X","datatype":"BYTES","shape":[1],"parameters":{"content_type":"str"},"data":["a"]}],
        "outputs":[{"name":"Y","parameters":{"classification":3}},{"name":"Z"}]}"#;
    let decoded = request(json).unwrap();
    assert_eq!(decoded.id, "42");
    assert_eq!(decoded.parameters["n"].parameter_choice, Some(ParameterChoice::Int64Param(-9_007_199_254_740_993)));
    assert_eq!(decoded.parameters["b"].parameter_choice, Some(ParameterChoice::BoolParam(true)));
    assert_eq!(decoded.parameters.len(), 3);
    assert_eq!(decoded.outputs[0].parameters["classification"].parameter_choice, Some(ParameterChoice::Int64Param(3)));
    assert_eq!(decoded.outputs[1].name, "Z");
    let again = request_from_json(&request_to_json(&decoded).unwrap().into(), None).unwrap().request;
    assert_eq!(again, decoded);
}

#[test]
fn one_raw_tensor_makes_all_raw() {
    let json =
        r#"{"inputs":[{"name":"A","datatype":"FP16","shape":[1],"data":[1]},{"name":"B","datatype":"BYTES","shape":[2],"data":["x",""]}]}"#;
    let decoded = request(json).unwrap();
    assert!(decoded.inputs.iter().all(|t| t.contents.is_none()));
    assert_eq!(decoded.raw_input_contents, [&[0x00, 0x3c][..], &[1, 0, 0, 0, b'x', 0, 0, 0, 0][..]]);
    validate(&decoded).unwrap();
}

#[test]
fn binary_tensors_stand_behind_the_json() {
    let json = r#"{"parameters":{"binary_data_output":true},"outputs":[{"name":"B","parameters":{"binary_data":false}},{"name":"A"}],"inputs":[
        {"name":"A","datatype":"UINT16","shape":[2],"parameters":{"binary_data_size":4}},
        {"name":"J","datatype":"INT8","shape":[1],"data":[-1]},
        {"name":"B","datatype":"BYTES","shape":[1],"parameters":{"binary_data_size":6}}]}"#;
    let mut body = json.as_bytes().to_vec();
    body.extend([1, 0, 255, 255, 2, 0, 0, 0, 0xff, 0xfe]);
    let decoded = request_from_json(&body.clone().into(), Some(json.len())).unwrap();
    assert_eq!(decoded.request.raw_input_contents, [&[1, 0, 255, 255][..], &[255][..], &[2, 0, 0, 0, 0xff, 0xfe][..]]);
    assert!(decoded.request.parameters.is_empty() && decoded.request.inputs.iter().all(|t| t.parameters.is_empty()));
    assert!(decoded.request.outputs.iter().all(|o| o.parameters.is_empty()));
    assert!(decoded.binary.wants("A") && decoded.binary.wants("other") && !decoded.binary.wants("B"));
    for (body, length, expected) in [
        (&body[..body.len() - 1], json.len(), "tensor B: binary_data_size is 6, 5 bytes are left in the body"),
        (&[&body[..], &[0]].concat()[..], json.len(), "1 bytes follow the JSON and the binary tensors: check binary_data_size"),
        (&body[..], body.len() + 1, "Inference-Header-Content-Length says"),
    ] {
        let error = request_from_json(&Bytes::copy_from_slice(body), Some(length)).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    let wrong = json.replace("[2]", "[3]");
    let body = [wrong.as_bytes(), &body[json.len()..]].concat();
    let error = request_from_json(&body.into(), Some(wrong.len())).unwrap_err().to_string();
    assert_eq!(error, "tensor A: 3 elements of UINT16 take 6 bytes, there are 4");
}

#[test]
fn outputs_are_binary_where_they_are_wanted_so() {
    let output = |name: &str, values: Vec<i32>| InferOutputTensor {
        name: name.into(),
        datatype: "INT32".into(),
        shape: vec![1],
        contents: Some(InferTensorContents { int_contents: values, ..Default::default() }),
        ..Default::default()
    };
    let response =
        ModelInferResponse { model_name: "m".into(), outputs: vec![output("A", vec![1]), output("B", vec![2])], ..Default::default() };
    let binary = BinaryOutputs { all: true, named: [("A".to_owned(), false)].into() };
    let encoded = response_to_rest(&response, &binary).unwrap();
    let (json, blobs) = encoded.body.split_at(encoded.json_length.unwrap());
    assert_eq!(
        std::str::from_utf8(json).unwrap(),
        r#"{"model_name":"m","outputs":[{"data":[1],"name":"A","shape":[1],"datatype":"INT32"},{"name":"B","shape":[1],"datatype":"INT32","parameters":{"binary_data_size":4}}]}"#
    );
    assert_eq!(blobs, [2, 0, 0, 0]);
}

#[test]
fn bytes_that_are_no_text_are_base64_and_say_so() {
    let response = |elements: &[&[u8]]| ModelInferResponse {
        outputs: vec![InferOutputTensor {
            name: "Y".into(),
            datatype: "BYTES".into(),
            shape: vec![elements.len() as i64],
            contents: Some(InferTensorContents {
                bytes_contents: elements.iter().map(|e| Bytes::copy_from_slice(e)).collect(),
                ..Default::default()
            }),
            ..Default::default()
        }],
        ..Default::default()
    };
    let json = |r| String::from_utf8(response_to_json(&r).unwrap()).unwrap();
    assert_eq!(
        json(response(&[b"a", "ü".as_bytes()])),
        r#"{"model_name":"","outputs":[{"data":["a","ü"],"name":"Y","shape":[2],"datatype":"BYTES"}]}"#
    );
    assert_eq!(
        json(response(&[b"a", &[0xff, 0xfe]])),
        r#"{"model_name":"","outputs":[{"data":["YQ==","//4="],"name":"Y","shape":[2],"datatype":"BYTES","parameters":{"content_type":"base64"}}]}"#
    );
}

#[test]
fn messages_that_do_not_hold_what_they_say_are_refused() {
    let tensor = |datatype: &str, shape: &[i64], contents| InferInputTensor {
        name: "X".into(),
        datatype: datatype.into(),
        shape: shape.into(),
        contents,
        ..Default::default()
    };
    let ints = |n: usize| Some(InferTensorContents { int_contents: vec![1; n], ..Default::default() });
    let raw = |bytes: &'static [u8]| vec![Bytes::from_static(bytes)];
    for (inputs, raw, expected) in [
        (vec![tensor("INT32", &[2], ints(1))], vec![], "tensor X: shape [2] takes 2 elements, contents have 1"),
        (vec![tensor("INT64", &[1], ints(1))], vec![], "tensor X: its contents are in a field that is not the one of INT64"),
        (vec![tensor("INT64", &[1], None)], vec![], "tensor X: shape [1] takes 1 elements, contents have 0"),
        (vec![tensor("INT99", &[1], ints(1))], vec![], "tensor X: unknown datatype"),
        (vec![tensor("INT32", &[-1], ints(1))], vec![], "tensor X: dimension -1"),
        (vec![tensor("INT32", &[1], ints(1))], raw(b"abcd"), "tensor X: it has both contents and raw_input_contents"),
        (vec![tensor("INT32", &[1], None)], raw(b"abc"), "tensor X: 1 elements of INT32 take 4 bytes, there are 3"),
        (
            vec![tensor("BYTES", &[2], None)],
            raw(&[1, 0, 0, 0, b'a']),
            "tensor X: the shape takes 2 elements, there are 1 raw BYTES elements",
        ),
        (vec![tensor("BYTES", &[1], None)], raw(&[9, 0, 0, 0, b'a']), "tensor X: raw BYTES element 0 is cut off"),
        (vec![], raw(b"abcd"), "not an inference request: 1 raw_input_contents for 0 inputs"),
        (vec![tensor("INT32", &[1], ints(1)), tensor("INT32", &[1], ints(1))], vec![], "tensor X: there are two of this name"),
    ] {
        let error = validate(&ModelInferRequest { inputs, raw_input_contents: raw, ..Default::default() }).unwrap_err().to_string();
        assert!(error.contains(expected), "{error} / {expected}");
    }
    let empty = Some(InferTensorContents::default());
    validate(&ModelInferRequest { inputs: vec![tensor("INT32", &[1], empty)], raw_input_contents: raw(b"abcd"), ..Default::default() })
        .unwrap();
}

#[test]
fn values_are_recognised() {
    let plain = request(&one("INT32", "[1]", "[7]")).unwrap();
    let proto = Bytes::from(plain.encode_to_vec());
    let json = Bytes::from(one("INT32", "[1]", "[7]"));
    let framed = Bytes::from([&[0, 0, 0, 0, 1, 0][..], &proto].concat());
    let answer = ModelInferResponse {
        outputs: vec![InferOutputTensor {
            name: "X".into(),
            datatype: "INT32".into(),
            shape: vec![1],
            contents: plain.inputs[0].contents.clone(),
            ..Default::default()
        }],
        ..Default::default()
    };
    let answer_json = Bytes::from(response_to_json(&answer).unwrap());
    for (infer_type, value, is_json) in [
        (None, &proto, false),
        (None, &framed, false),
        (None, &json, true),
        (None, &Bytes::from(format!("\n {}", one("INT32", "[1]", "[7]"))), true),
        (None, &answer_json, true),
        (Some("proto/InferModelRequest"), &proto, false),
        (Some("proto/InferModelResponse"), &answer.encode_to_vec().into(), false),
        (Some("json/inferModelRequest"), &json, true),
        (Some("json/inferModelResponse"), &answer_json, true),
    ] {
        let payload = payload::request(infer_type.map(str::as_bytes), value).unwrap_or_else(|e| panic!("{infer_type:?}: {e}"));
        assert_eq!((payload.request.inputs, payload.json), (plain.inputs.clone(), is_json), "{infer_type:?}");
    }
    assert_eq!(response_from_json(&answer_json).unwrap(), answer);
    assert!(payload::request(Some(b"xml"), &proto).unwrap_err().to_string().contains("seldon-infer-type says \"xml\""));
    assert!(payload::request(None, &Bytes::from_static(b"garbage")).unwrap_err().to_string().contains("neither protobuf nor JSON"));
}

/// Raw contents of a datatype: any bits that its elements can have.
fn tensor() -> impl Strategy<Value = (Datatype, Vec<i64>, Bytes)> {
    (0..Datatype::ALL.len(), 0..4i64, 0..4i64).prop_flat_map(|(index, rows, columns)| {
        let datatype = Datatype::ALL[index];
        let count = usize::try_from(rows * columns).unwrap();
        let raw = match (datatype, datatype.width()) {
            (Datatype::Bool, _) => proptest::collection::vec(0..2u8, count).boxed(),
            (_, Some(width)) => proptest::collection::vec(any::<u8>(), count * width).boxed(),
            (_, None) => proptest::collection::vec(".{0,5}", count)
                .prop_map(|texts| {
                    texts.iter().flat_map(|t| [&u32::try_from(t.len()).unwrap().to_le_bytes()[..], t.as_bytes()].concat()).collect()
                })
                .boxed(),
        };
        raw.prop_map(move |raw| (datatype, vec![rows, columns], Bytes::from(raw)))
    })
}

/// All NaNs are one in JSON.
fn one_nan(datatype: Datatype, raw: &Bytes) -> Bytes {
    let mut out = raw.to_vec();
    match datatype {
        Datatype::Fp32 => {
            out.as_chunks_mut::<4>().0.iter_mut().filter(|b| f32::from_le_bytes(**b).is_nan()).for_each(|b| *b = f32::NAN.to_le_bytes())
        }
        Datatype::Fp64 => {
            out.as_chunks_mut::<8>().0.iter_mut().filter(|b| f64::from_le_bytes(**b).is_nan()).for_each(|b| *b = f64::NAN.to_le_bytes())
        }
        Datatype::Fp16 => {
            out.as_chunks_mut::<2>()
                .0
                .iter_mut()
                .filter(|b| half::f16::from_le_bytes(**b).is_nan())
                .for_each(|b| *b = half::f16::NAN.to_le_bytes());
        }
        Datatype::Bf16 => {
            out.as_chunks_mut::<2>()
                .0
                .iter_mut()
                .filter(|b| half::bf16::from_le_bytes(**b).is_nan())
                .for_each(|b| *b = half::bf16::NAN.to_le_bytes());
        }
        _ => {}
    }
    out.into()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn raw_and_typed_contents_are_the_same((datatype, _, raw) in tensor()) {
        let raw = one_nan(datatype, &raw);
        let typed = contents::from_raw(datatype, &raw).unwrap();
        prop_assert!(!contents::strays(datatype, &typed));
        prop_assert_eq!(contents::to_raw(datatype, &typed).unwrap(), raw);
    }

    #[test]
    fn json_loses_nothing((datatype, shape, raw) in tensor(), typed in any::<bool>(), binary in any::<bool>()) {
        let raw = one_nan(datatype, &raw);
        let typed = typed && !datatype.raw_only();
        let mut response = ModelInferResponse { id: "i".into(), ..Default::default() };
        response.outputs.push(InferOutputTensor {
            name: "T".into(),
            datatype: datatype.name().into(),
            shape: shape.clone(),
            contents: typed.then(|| contents::from_raw(datatype, &raw).unwrap()),
            ..Default::default()
        });
        if !typed {
            response.raw_output_contents.push(raw.clone());
        }
        let encoded = response_to_rest(&response, &BinaryOutputs { all: binary, ..Default::default() }).unwrap();
        // A response is read as a request with its outputs as inputs; `data` must be there for that.
        let body = String::from_utf8_lossy(&encoded.body[..encoded.json_length.unwrap_or(encoded.body.len())]).replace("\"outputs\"", "\"inputs\"");
        let body: Bytes = [body.as_bytes(), &encoded.body[encoded.json_length.unwrap_or(encoded.body.len())..]].concat().into();
        let json_length = encoded.json_length.map(|_| body.len() - raw.len());
        let decoded = request_from_json(&body, json_length).unwrap().request;
        validate(&decoded).unwrap();
        prop_assert_eq!(&decoded.inputs[0].shape, &shape);
        prop_assert!(decoded.inputs[0].parameters.is_empty());
        let back = match &decoded.inputs[0].contents {
            Some(contents) => contents::to_raw(datatype, contents).unwrap(),
            None => decoded.raw_input_contents[0].clone(),
        };
        prop_assert_eq!(back, raw);
        let again = request_from_json(&request_to_json(&decoded).unwrap().into(), None).unwrap().request;
        validate(&again).unwrap();
        prop_assert_eq!(&again.inputs[0].name, "T");
    }

    #[test]
    fn no_bytes_make_the_codec_panic(body in proptest::collection::vec(any::<u8>(), 0..200), length in proptest::option::of(0..250usize)) {
        let body = Bytes::from(body);
        let _ = request_from_json(&body, length);
        let _ = payload::request(None, &body);
        let _ = payload::response(&body);
        for datatype in Datatype::ALL {
            let _ = contents::from_raw(datatype, &body);
        }
    }

    #[test]
    fn no_text_makes_the_codec_panic(data in r#"[\[\]{}",:0-9eE.\\a-z -]{0,60}"#, shape in proptest::collection::vec(-1..4i64, 0..4), index in 0..Datatype::ALL.len()) {
        let _ = request(&one(Datatype::ALL[index].name(), &format!("{shape:?}"), &data));
    }
}
