"""The report in simplified Chinese."""

from __future__ import annotations

from collections.abc import Mapping

from linnaeus.verbs.report.language.chinese_audit import ChineseAudit
from linnaeus.verbs.report.language.chinese_evidence import ChineseEvidence
from linnaeus.verbs.report.language.chinese_shipping import ChineseShipping
from linnaeus.verbs.report.language.english import English


class Chinese(ChineseEvidence, ChineseAudit, ChineseShipping, English):
    """The page itself, the answer, and the model card."""

    code = "zh"
    html_lang = "zh-Hans"
    page_title = "{name}：图像分类器报告"
    subtitle = "图像分类器"
    outside_subtitle = "外部预测结果"
    skip = "跳到结论"
    contents = "目录"
    footer = "由 Linnaeus 生成。本页内容完整独立：不加载任何外部资源，也不发送任何数据。"
    card_alt = "无法显示此图片：{trouble}"
    chart_alt = "图表"
    accuracy_alt = "准确率 {accuracy}；猜测的准确率为 {guess}"
    it_is = "实际是 {name}"
    right_sign = "预测正确"
    wrong_sign = "预测错误"
    filter_true = "真实类别"
    filter_called = "模型预测"
    filter_sure = "置信度不低于"
    filter_any = "全部"
    filter_shown = "显示 {n} / {all}"
    filter_title = "筛选错误预测"
    matrix_show = "显示"
    cell_hint = "把鼠标移到格子上，或用方向键移动，即可在这里查看对应的图片。"
    cell_none = "本页没有这一类的图片。"
    slider_label = "回答的置信度阈值"
    pictures_by_hash = "{pictures}（按哈希值选取）"
    matrix_counts = "{all} 张中判对 {right} 张（{part}）"
    pair_of = "{true} 误判为 {called}：{support} 张中 {count} 张"

    sections: Mapping[str, tuple[str, str]] = {
        "answer": ("结论", "结论"),
        "data": ("数据", "数据"),
        "audit": ("数据有什么问题？", "检查"),
        "decisions": ("自动决定的设置及理由", "决定"),
        "learning": ("训练过程", "训练"),
        "scores": ("评估指标", "指标"),
        "ranking": ("逐类区分能力", "区分能力"),
        "confusion": ("哪些类别容易混淆", "混淆"),
        "calibration": ("它给出的概率可信吗？", "概率"),
        "abstention": ("“我不知道”", "拒答"),
        "slices": ("哪些图片上表现更差？", "子集"),
        "mistakes": ("亲眼看看", "图片"),
        "explain": ("模型在看哪里？", "可解释性"),
        "stress": ("它经得起什么？", "鲁棒性"),
        "export": ("换成其他格式，结果一致吗？", "导出"),
        "compress": ("能更小、更快吗？", "压缩"),
        "card": ("模型卡片", "模型卡片"),
        "provenance": ("来源与复现", "来源"),
    }

    named_right = "的准确率（{pictures}）"
    with_confidence = "95% 置信区间 {interval}"
    by_guessing = "全猜最常见类别：{share}"
    task = "给定一张图片，模型判断它属于 {classes}中的哪一个：{names}。"
    and_more = "{names}等，另有 {n} 个"
    not_judged = "没有留出带标签的图片用于评估，因此无法判断它的好坏。"
    fit: Mapping[str, str] = {
        "alone": "它**可以独立对这类图片分类**，由人工抽查即可。",
        "first": "它**适合做初步分类**：再由人过一遍，或用在出错代价不大的地方。",
        "hint": "它**只适合给出提示，不适合直接做决定**：每张图片都应由人复核。",
        "none": "**目前还不能证明它有任何用处**。",
    }
    quality = "每 {of} 张同类新图片中，它**大约能判对 {right} 张**（95% 置信区间为 {low} 到 {high} 张）。"
    rests_on: Mapping[str, str] = {
        "test": "该结论基于 {pictures}，训练时从未用过。",
        "val": "该结论基于 {pictures}，但它们也参与了模型选择。",
        "outside": "该结论基于 {pictures}；模型训练时是否见过它们，预测表中没有说明。",
    }
    guessing = "如果总是回答最常见的类别 {name}，每 100 张能对 {share} 张。"
    no_better = "**这些图片不能证明模型比这种猜法更好。**"
    no_mistake = "它在这些图片上没有出错，但这不等于永远不会出错：请看置信区间。"
    weakest = "它**最容易出错的类别是** {name}：{support} 张中找出了 {hits} 张，召回率 {recall}。"
    commonest_mistake = "最常见的错误是把 {true} 误判为 {called}，{support} 张中有 {count} 张。"
    worst_slice = "它在这类图片上表现更差：{what}，准确率 {accuracy}，其余图片为 {rest}。"
    weakest_against = "在各种图片损坏中，它最怕{kind}：最强时准确率为 {accuracy}，未损坏时为 {clean}。"
    trust = "它给出的概率**{verdict}**：与实际正确率平均相差 {points} 个百分点（{low}～{high}）。"
    verdicts: Mapping[str, str] = {
        "word": "可以直接采信",
        "guide": "可作大致参考",
        "sure": "不能直接采信，它过度自信",
        "modest": "不能直接采信，它信心不足",
    }
    promise_kept = (
        "如果只在置信度不低于 {threshold} 时回答，"
        "它会回答 {coverage} 的图片，且有 {level} 的把握保证错误率不超过 {error}。"
    )
    before_you_rely = "使用之前请注意"
    warning = "{kind}：{evidence}"
    more_warnings = "另有 {n} 条，见“数据”一节。"
    unaccounted = "共找到 {found} 个文件，但只有 {told} 个有交代。"
    not_ended = "本次运行尚未结束。"
    no_test_part = (
        "没有测试集：分数来自验证集，会略微偏高。校准和承诺也出自同一批图片：这里测得的结果不适用于其他图片。"
    )
    few_pictures = "只有 {pictures}可用于评估，置信区间较宽。"
    few_of_a_class = "{names}的评估图片不足 {n} 张，其结果参考价值有限。"
    next_title = "下一步建议"
    look_at_mistakes = "查看置信度超过 {share} 的 {answers}：标错的标签往往藏在其中。"
    add_pictures = "补充 {name} 的训练图片，尤其是容易被误判为 {called} 的。"
    judge_by_more = "用更多图片评估：从 {n} 张增加到 {more}，置信区间可缩小一半。"
    ask_next: Mapping[str, str] = {
        "stress": "测试它对噪声、模糊、微小变化和对抗攻击的承受能力：{command}",
        "explain": "看看它在看哪里：{command}",
    }
    use_it = "对自己的图片做预测：{command}"

    card_told = "供没有参与训练的人阅读。这里的内容均为实测或有记录；没有测量过的会明确说明。"
    card_heads: Mapping[str, str] = {
        "model": "模型",
        "use": "适用范围",
        "not": "不适用范围",
        "data": "训练数据",
        "measured": "评估结果",
        "probabilities": "概率",
        "limits": "已知局限",
        "unknown": "未测量",
        "people": "人与公平性",
    }
    card_use = "对属于 {classes}之一、且拍摄方式与训练图片相近的图片做分类。"
    card_not = (
        "任何其他内容的图片：它只能在自己的类别中选一个。不用于对人做决定。不用于出错会伤害他人且无人复核的场合。"
    )
    card_data = "{source}：{train}用于训练，{val}用于验证，{test}用于测试。"
    card_measured = "在 {pictures}上的准确率为 {accuracy}。"
    verdicts_alone: Mapping[str, str] = {
        "word": "可以直接采信。",
        "guide": "可作大致参考。",
        "sure": "过度自信，不能直接采信。",
        "modest": "信心不足，不能直接采信。",
    }
    card_class = "{name} {recall}"
    card_limits = "召回率最低的类别：{classes}。"
    card_unknown = "{sections}。"
    card_people = "没有记录图片中有哪些人、是否征得同意以及使用许可。发布模型的人有责任弄清楚。"
    card_parameters = "{n} 个参数"
    card_outside = "无记录：只知道它的预测结果。"
