"""The words of an audit in simplified Chinese."""

from __future__ import annotations

from collections.abc import Mapping

from linnaeus.verbs.report.language.chinese_findings import ChineseFindings
from linnaeus.verbs.report.language.english_audit import EnglishAudit


class ChineseAudit(ChineseFindings, EnglishAudit):
    """What the audit's sections say, in a run's report and on a page of its own."""

    audit_title = "{name}：图片数据集检查"
    audit_subtitle = "图片数据集检查"
    audit_missing = "尚未对数据做详细检查，可用 {command} 完成。"
    audit_sections: Mapping[str, tuple[str, str]] = {
        "answer": ("结论", "结论"),
        "findings": ("发现的问题", "发现"),
        "labels": ("标签可信吗？", "标签"),
        "shortcuts": ("无关的特征会暴露类别吗？", "捷径"),
        "balance": ("各类别是否均衡？", "均衡"),
        "drift": ("测试集与训练集相似吗？", "漂移"),
        "enough": ("图片够多吗？", "够多吗"),
        "files": ("每个文件的去向", "文件"),
    }
    audit_unreadable = "无法识别这一部分的格式：{error}。请用当前版本重新生成。"
    not_asked = "这一项没有检查，或图片太少无法检查。"

    no_account = "没有记录共有多少文件。"
    to_decide = "需要处理：**{kinds}**。"
    to_know = "仅供参考：{kinds}。"
    mend_title = "首先要处理的问题"
    mend_one = "**{title}**（{count}）：{advice}"
    mend_it = "在浏览器中查看图片并做决定："
    nothing_to_mend = "**没有发现必须处理的问题。**"
    no_findings = "没有发现任何问题。"

    advice = "**怎么办：**{advice}"
    more_findings = "另有 {n} 项同类发现"
    more_in_table = "另有 {n} 项见 audit.csv。"
    in_a_set = "{ids}一组"
    more_sets = "另有 {n} 组"
    given_suggested = "{label} → {suggested}"
    with_quality = "质量 {quality}"
    these_pictures = "{pictures}的名称"
    found_columns = ("图片", "标签", "建议", "标签质量")

    labels_told = "检查了 {checked} 个标签，所用模型都没有见过对应的图片。其中 **{likely}** 个疑似有误。"
    labels_wrong = "全部标签中约有 {wrong} 有误。"
    labels_grown = (
        "这些模型是在以前的一次检查中用 {fitted} 张图片拟合的（此后新增 {new} 张，减少 {gone} 张，"
        "{relabelled} 张换了标签）；变化不大，因此没有重新拟合。"
    )
    noise_caption = "各类别错误标签的比例，由高到低"
    noise_columns = ("类别", "错误比例", "疑似有误")
    overlaps_title = "相互重叠的类别"
    overlap_columns = ("类别", "被误认为对方", "被误标为对方")
    overlap_pair = "{first} 与 {second}"
    no_overlaps = "没有相互重叠的类别。"

    shortcuts_told = (
        "只用无关的特征训练小型决策树，让它们判断 {pictures}的类别，这些图片都没有用于训练。"
        "细线表示偶然水平：取直接猜测与打乱标签后同样回答两者中较高的一个。"
    )
    shortcuts_far = "**远高于偶然水平：{families}。**"
    shortcuts_none = "**没有一项远高于偶然水平。**"
    shortcut_columns = ("特征", "来自", "仅凭它的准确率", "偶然水平", "技巧分")
    family_far = "**远高于偶然水平：**{what}"
    derived: Mapping[str, str] = {"file": "文件", "pixels": "图片"}
    families: Mapping[str, str] = {
        "size": "大小",
        "aspect ratio": "宽高比",
        "file type": "文件类型",
        "file name": "文件名",
        "folder": "文件夹",
        "camera": "相机",
        "time": "时间",
        "colour": "颜色",
        "border": "边框",
        "light": "明暗",
        "all of the file": "文件特征合计",
        "everything": "全部特征合计",
    }
    shortcut_model = "作为对照，模型本身的准确率为 {accuracy}。"

    balance_told = "{classes}，多样性相当于 **{effective}** 个大小相同的类别。"
    balance_ratio = "最大类别的图片数是最小类别的 **{ratio}** 倍。"
    balance_caption = "各类别的图片数，由多到少"
    pictures_head = "图片数"

    drift_told = "让分类器区分测试图片与训练图片，AUROC 为 **{auroc}**；0.5 表示无法区分（p {p}）。"
    drift_by = "差异最大的特征"
    drift_columns = ("特征", "两部分的取值", "AUROC", "校正后的 p")

    enough_axes = ("训练图片数", "准确率")
    enough_title = "准确率随训练图片数的变化"
    enough_chart = "线性分类层的准确率随训练图片数的变化，附 95% 置信区间；虚线为图片加倍后的推算。"
    measured = "实测"
    extrapolated = "推算"
    enough_now = "在网络特征上的线性分类层准确率为 {accuracy}。"
    enough_twice = "图片加倍大约可提高 **{gain}** 个百分点（{range}）。"
    enough_half = "要使错误减半，大约需要 **{n}** 张图片。"
    enough_never = "仅靠增加同类图片，错误不会减半。"
    enough_columns = ("训练图片数", "准确率")

    files_columns = ("去向", "文件数", "含义")
    found_row = "找到"
    used_row = "使用"
