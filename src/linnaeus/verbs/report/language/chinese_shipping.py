"""The words of exported files and of smaller, faster versions in simplified Chinese."""

from __future__ import annotations

from collections.abc import Mapping

from linnaeus.verbs.report.language.english_shipping import EnglishShipping


class ChineseShipping(EnglishShipping):
    """What the sections on exports and on compression say."""

    milliseconds_sign = " 毫秒"
    megabytes_sign = "\u00a0MB"
    times_sign = ""
    precisions: Mapping[str, str] = {"weights": "8 位权重"}

    export_told = (
        "每个文件直接接收图片的原始字节（uint8，RGB），输出与模型相同的概率，其间的全部计算都在文件之内。"
        "下面用同样的 {pictures}分别询问文件和模型，并逐一对比两者的回答。"
    )
    export_limit = "“一致”是指任何概率的差异都不超过 {limit}，且没有任何回答发生改变。"
    export_counts: Mapping[str, str] = {
        "equal": "已证明一致：**{files}中的 {n} 个**。",
        "free": "精度较低、允许有差异：{files}（{names}）。",
        "failed": "**未通过、请勿使用：{files}**（{names}）。",
        "not run": "已写出，但无法在本机运行：{files}（{names}）。",
    }
    export_one = "**逐张预测时建议使用 {file}**：半数调用不超过 {p50}，99% 的调用不超过 {p99}。文件位于 {path}。"
    export_many = "**批量预测时建议使用 {file}**：每秒 {per_second} 张图片，批大小为 {batch}。文件位于 {path}。"
    export_both = (
        "**无论逐张还是批量预测，都建议使用 {file}**：单张图片半数调用不超过 {p50}，99% 的调用不超过 {p99}；"
        "批大小为 {batch} 时每秒 {per_second} 张图片。文件位于 {path}。"
    )
    export_faster = "{file} 单张图片只需 {p50}，但结果并不一致：准确率相差 {difference} 个百分点（{range}）。"
    export_caption = "导出的文件，由快到慢；并列出模型本身在同样图片上的准确率"
    export_columns = (
        ("文件", ""),
        ("结论", ""),
        ("最大差异", ""),
        ("回答相同", ""),
        ("准确率", ""),
        ("模型本身", ""),
        ("大小", "（MB）"),
        ("加载", "（秒）"),
        ("单张", "（p50 毫秒）"),
        ("单张", "（p99 毫秒）"),
        ("批量", "（张/秒）"),
    )
    export_verdicts: Mapping[str, str] = {
        "equal": "一致",
        "free": "允许有差异",
        "failed": "未通过",
        "not run": "未在本机运行",
    }
    no_files = "没有导出任何文件。"

    compress_asked = "要求：**{targets}**，准确率最多下降 {drop}。"
    compress_asked_nothing = "要求：准确率**最多下降 {drop}**。"
    compress_targets: Mapping[str, str] = {"latency": "速度达到 {times} 倍", "size": "文件缩小到 1/{times}"}
    points_noun = ("{n} 个百分点", "{n} 个百分点")
    compress_tried = "共尝试 {candidates}，全部在同样的 {pictures}上测试。"
    compress_gate = (
        "只有证明了准确率的下降小于这一限度，候选方案才算通过：在同样的图片上逐张对比，它与模型之差的 {level}% 置信区间必须全部"
        "高于 −{drop}。所有候选方案合在一起，有任何一个被误判为通过的概率不超过 5%。通过：**{candidates}中的 {n} 个**。"
    )
    compress_chosen = (
        "**选用：{name}**，用 {runtime} 运行。与模型在其最快的运行环境中相比，它的**速度是 {faster} 倍**，单张图片 {p50}；"
        "文件为 {size}，原为 {size_before}。它的准确率为 {accuracy}，模型为 {before}，相差 {difference} 个百分点"
        "（{range}；{level}% 置信区间）。文件位于 {path}。"
    )
    compress_none = "**没有选用任何候选方案。**"
    compress_why = "理由：{why}"
    no_candidates = "没有尝试任何候选方案。"
    the_model = "模型本身"
    chosen = "**选用：**{name}"
    on_front = "位于前沿"
    verdict_words: Mapping[str, str] = {"passed": "通过", "worse": "下降过多", "not shown": "尚无定论"}
    front_title = "准确率与单张图片用时"
    front_caption = "准确率与单张图片用时；编号与下表相同"
    front_axes = ("单张图片用时（p50，毫秒）", "准确率")
    front_axes_log = ("单张图片用时（p50，毫秒，对数刻度）", "准确率")
    front_chart = "准确率与单张图片用时的关系。模型：{model}。前沿由快到慢：{front}。数值见表格。"
    front_point = "{name}，{p50}，准确率 {accuracy}"
    front_line = "前沿：没有其他方案既更快又更准"
    front_key: Mapping[str, str] = {
        "passed": "通过",
        "failed": "未通过",
        "original": "模型本身",
        "below": "远在图下方",
        "bar": "95% 置信区间",
        "zone": "符合要求的范围",
    }
    compress_caption = "全部候选方案，由快到慢"
    compress_columns = (
        ("候选方案", ""),
        ("结论", ""),
        ("运行环境", ""),
        ("准确率", ""),
        ("差值", "（百分点，{level}%）"),
        ("单张", "（p50 毫秒）"),
        ("速度", "（倍）"),
        ("大小", "（MB）"),
        ("缩小", "（倍）"),
    )
    more_columns = (
        ("候选方案", ""),
        ("单张", "（p95 毫秒）"),
        ("批量", "（张/秒）"),
        ("乘加运算", "（百万次）"),
        ("参数", "（百万个）"),
    )
    more_summary = "各方案的校准误差、运算量与吞吐量"
