// Every word of the page, in two languages.

const WORDS = {
  en: {
    title: "What is in the picture?", skip: "Skip to the pictures", other: "中文", other_label: "改用中文",
    classes: "{name} · {K} classes", drop: "Drop pictures here", or: "paste them, or", choose: "Choose pictures",
    camera: "Use the camera", stop: "Stop the camera", keep: "Keep this picture", which: "Camera",
    back: "Back camera", front: "Front camera", a_camera: "Camera {n}",
    stays: "Nothing is sent anywhere: the model is in this page, and your pictures stay on this device.",
    loading: "Loading the model …", ready: "Ready.", working: "Looking at picture {n} of {N} …", done: "{N} pictures, {errors} cannot be read.",
    done_one: "{answer}, {percent} sure.", sees: "what the model sees", sure: "{percent} sure",
    unknown: "unknown", unknown_why: "It looks like none of the classes. The nearest is {predicted}.",
    unsure: "Not sure enough: among answers like this, more than {max} may be wrong.",
    others: "{n} more classes share {percent}.", others_one: "One more class has {percent}.", results: "Pictures", file: "picture", answer: "answer",
    confidence: "confidence", save: "Save as CSV", clear: "Clear", show: "Show {name}", kept: "camera {n}.png", pasted: "pasted {n}.png",
    cannot: "cannot be read", cannot_why: "cannot be read: {why}", failed: "The model cannot run in this browser: {error}",
    no_camera: "There is no camera.", denied: "The camera may not be used: allow it in the browser's settings of this page.",
    busy: "The camera is used by another program.", no_api: "This browser gives no camera to this page. Pages from https:// or localhost may use it.",
    camera_error: "The camera does not work: {error}", live: "Camera: {answer}", about: "About this model",
    "error:empty": "The file is empty.", "error:not a picture": "This is not a picture.", "error:truncated": "The file ends too early.",
    "error:unreadable": "The picture is damaged, or of a kind that this browser cannot read.", "error:too large": "The picture is too large.",
    "error:other": "Something went wrong: {error}",
    a_classes: "Classes", a_accuracy: "Accuracy", a_accuracy_is: "{value} (95 % interval {low} to {high}) on {n} {part} pictures", a_data: "Data",
    a_data_is: "{name}, {used} pictures", a_print: "Fingerprint of the data", a_input: "The model takes", a_precision: "Computes in",
    a_input_is: "{size} × {size} pixels, {how}", crop: "the middle of the picture", squash: "the whole picture, squeezed into a square",
    pad: "the whole picture with borders", a_versions: "Made with", a_runtime: "Runs with", a_seed: "Seed", test: "test", val: "validation",
    a_promise: "Sure answers", a_promise_is: "from a confidence of {from} on, at most {max} are wrong (95 % sure, for pictures like those of the training)",
    a_unknown: "Unknown pictures", a_unknown_is: "unknown score above {above}",
  },
  zh: {
    title: "图里是什么？", skip: "跳到图片", other: "English", other_label: "Switch to English",
    classes: "{name} · {K} 个类别", drop: "把图片拖到这里", or: "也可以粘贴，或者", choose: "选择图片",
    camera: "使用摄像头", stop: "关闭摄像头", keep: "保留这一帧", which: "摄像头",
    back: "后置摄像头", front: "前置摄像头", a_camera: "摄像头 {n}",
    stays: "不会发送任何内容：模型就在本页中，图片不会离开这台设备。",
    loading: "正在加载模型……", ready: "准备就绪。", working: "正在识别第 {n} 张，共 {N} 张……", done: "共 {N} 张图片，其中 {errors} 张无法读取。",
    done_one: "{answer}，置信度 {percent}。", sees: "模型看到的画面", sure: "置信度 {percent}",
    unknown: "未知", unknown_why: "它不像任何一个类别，最接近的是 {predicted}。",
    unsure: "把握不足：这样的回答中，错误可能超过 {max}。",
    others: "其余 {n} 个类别合计 {percent}。", others_one: "其余 1 个类别占 {percent}。", results: "图片", file: "图片", answer: "回答",
    confidence: "置信度", save: "保存为 CSV", clear: "清空", show: "查看 {name}", kept: "camera {n}.png", pasted: "pasted {n}.png",
    cannot: "无法读取", cannot_why: "无法读取：{why}", failed: "模型无法在此浏览器中运行：{error}",
    no_camera: "没有找到摄像头。", denied: "未获准使用摄像头：请在浏览器的网页设置中允许。",
    busy: "摄像头正被其他程序占用。", no_api: "此浏览器不允许本页使用摄像头；通过 https:// 或 localhost 打开的网页可以使用。",
    camera_error: "摄像头无法使用：{error}", live: "摄像头：{answer}", about: "关于此模型",
    "error:empty": "文件是空的。", "error:not a picture": "这不是图片。", "error:truncated": "文件不完整。",
    "error:unreadable": "图片已损坏，或此浏览器不支持这种格式。", "error:too large": "图片太大。",
    "error:other": "出错了：{error}",
    a_classes: "类别", a_accuracy: "准确率", a_accuracy_is: "{value}（95 % 置信区间 {low} 至 {high}），{n} 张{part}图片", a_data: "数据",
    a_data_is: "{name}，{used} 张图片", a_print: "数据指纹", a_input: "模型输入", a_precision: "计算精度",
    a_input_is: "{size} × {size} 像素，{how}", crop: "取图片中间部分", squash: "整张图片压缩成正方形",
    pad: "整张图片加边框", a_versions: "制作版本", a_runtime: "运行环境", a_seed: "随机种子", test: "测试", val: "验证",
    a_promise: "有把握的回答", a_promise_is: "置信度不低于 {from} 时，错误至多 {max}（把握 95 %，前提是图片与训练时的相似）",
    a_unknown: "未知图片", a_unknown_is: "未知分数高于 {above}",
  },
};

let language = (navigator.language || "en").toLowerCase().startsWith("zh") ? "zh" : "en";

/** Say something in the reader's language: say("done", {N: 3}). */
function say(key, values = {}) {
  return WORDS[language][key].replace(/\{(\w+)\}/g, (_, name) => values[name]);
}

const percent = (share, digits = 1) => `${(100 * share).toFixed(digits)} %`;
