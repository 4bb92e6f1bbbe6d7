"""The words of the evidence in simplified Chinese."""

from __future__ import annotations

from collections.abc import Mapping

from linnaeus.verbs.report.language.chinese_words import ChineseWords
from linnaeus.verbs.report.language.english_evidence import EnglishEvidence


class ChineseEvidence(ChineseWords, EnglishEvidence):
    """What the sections after the answer say."""

    missing: Mapping[str, str] = {
        "ranking": "尚无 ROC 曲线和精确率–召回率曲线，可用 {command} 生成。",
        "calibration": "尚未对比校准前后的效果，可用 {command} 得到。",
        "abstention": "尚未测量拒绝回答能带来多少收益，可用 {command} 得到。",
        "slices": "尚未查找模型表现较差的图片子集，可用 {command} 完成。",
        "explain": "尚无可解释性分析，可用 {command} 生成。",
        "stress": "尚未用损坏的图片、微小变化和对抗攻击进行测试，可用 {command} 完成。",
        "export": "尚未导出为其他格式，可用 {command} 完成，并逐一与模型对比。",
        "compress": "尚未寻找更小、更快的版本，可用 {command} 完成。",
    }
    unreadable = "无法识别 {file} 的格式：{error}。请用当前版本重新生成。"
    none = "无"
    all = "合计"
    more_rows = "另有 {n} 行未在此显示。"
    the_numbers = "具体数值"
    and_others = "以及另外 {n} 项"

    none_aside = "共找到 {found}，使用 {used} 个，没有剔除任何文件。"
    some_aside = (
        "共找到 {found}，使用 {used} 个，剔除 {aside} 个（{reasons}）。每个文件都有交代，没有任何文件被修改或替换。"
    )
    aside_summary = "剔除的 {files}及原因"
    aside_columns = ("文件", "原因", "说明")
    more_aside = "另有 {n} 个见 {file}。"
    noticed_summary = "数据检查的 {things}"
    with_ids = "{told}（{ids}）"
    all_counts = "{classes}各有多少图片"
    class_ = "类别"
    counts_caption = "各类别使用的图片数"
    decision_columns = ("设置", "取值", "理由")
    nothing_decided = "所有设置均由用户给定，程序没有自行决定任何设置。"

    curves: Mapping[str, str] = {"loss": "损失", "accuracy": "准确率"}
    sides: Mapping[str, str] = {"train": "训练", "val": "验证"}
    epoch = "轮次（epoch）"
    curve_alt = "{what}随轮次的变化。{course}。"
    course = "{side}从 {start} 到 {end}"
    point = "{side}，第 {epoch} 轮：{value}"
    healthy_curves = (
        "正常情况下，两条曲线应当同步下降（损失）或同步上升（准确率）。"
        "如果训练曲线持续变好而验证曲线不再变好，说明网络在死记训练图片（过拟合）。"
    )
    kept_epoch = "最终保留的是第 {epoch} 轮的权重，即图中的细竖线。"
    stopped = "训练结束的原因：{reason}。"
    no_epochs = "没有可展示的训练轮次：只在预训练网络的特征上一次性求解了最后一层。"

    scores_told = "以下分数在{part}上得到，均附 95% 置信区间：换一批同类图片，分数落在区间内任何位置都属正常。"
    score_columns = ("指标", "数值", "95% 区间", "n")
    class_by_class = "各类别表现"
    class_columns = (
        ("找到的比例", "（召回率，%）"),
        ("判断的正确率", "（精确率，%）"),
        ("F1", "（%）"),
        ("图片数", "（support）"),
    )
    report_caption = "分类报告"
    worst_classes = "召回率最低的 {n} 个类别"
    all_classes = "全部 {classes}"
    ranking_told = (
        "将每个类别与其余所有类别相比，考察所有可能的阈值。AUROC 是该类图片的得分高于非该类图片的概率，各类平均为 {auroc}。"
        "平均精确率概括精确率–召回率曲线，对少见类别更为严格，各类平均为 {ap}。"
    )
    ranking_axes: Mapping[str, tuple[str, str, str]] = {
        "roc": ("ROC 曲线", "假阳性率", "召回率"),
        "precision_recall": ("精确率–召回率曲线", "召回率", "精确率"),
    }
    ranking_chart = "最难与其余类别区分的几个类别的曲线，数值见下表。"
    ranking_caption = "按平均精确率从低到高排列"

    matrix_told = "行是图片的真实类别，列是模型的预测。对角线上为预测正确。"
    matrix_clustered = (
        "行是真实类别，列是模型的预测，对角线上为预测正确。容易混淆的类别排在一起，因此错误会在对角线旁形成小块。"
    )
    matrix_part = "这里只显示 {all}中相互混淆最多的 {n} 个。"
    matrix_views: Mapping[str, str] = {
        "count": "图片数",
        "row": "占该行比例（召回率）",
        "column": "占该列比例（精确率）",
    }
    matrix_title = "混淆矩阵"
    matrix_desc = "{classes}：共 {all} 张，其中 {right} 张在对角线上，即预测正确。数值见表格。"
    cell_right = "{true}：{count} 张正确（占该行 {row}，占该列 {column}）"
    cell_wrong = "{true} 被误判为 {called}：{count} 张（占该行 {row}，占该列 {column}）"
    frequent_mistakes = "最常见的混淆"
    pair_columns = ("真实类别", "模型预测", "次数", "总数")
    matrix_as_table = "以表格形式查看混淆矩阵"

    reliability_told = (
        "按置信度排序后，每个点代表数量大致相同的一组图片。落在虚线上，说明置信度与实际正确率一致；在虚线下方为过度自信，"
        "在上方为信心不足。竖线为 95% 置信区间。"
    )
    reliability_title = "可靠性图"
    reliability_axes = ("模型给出的置信度", "实际正确率")
    reliability_alt = "准确率与置信度的对比，数值见下表。"
    bin_words = "置信度 {confidence}，正确率 {accuracy}（{interval}），{pictures}"
    bin_columns = ("置信度", "正确率", "区间", "图片数")
    ece_told = "校准误差：**{ece}**。"
    temperature_told = "模型将 logit 除以在验证集上拟合的温度 {temperature}。"
    calibration_chosen = "在 {n} 种校准方法中，选用了交叉验证对数损失最低的一种：**{method}**。"
    before = "校准前"
    after = "校准后"
    method = "方法"
    cross_validated = "对数损失（交叉验证）"
    tried_summary = "尝试过的校准方法"

    risk_told = "模型只回答最有把握的图片，其余拒绝回答。回答得越少，其中的错误越少。曲线下面积越接近 0 越好：{aurc}。"
    error = "回答中的错误率"
    risk_title = "已回答图片中的错误率"
    risk_chart = "错误率随回答比例的变化及其区间，数值见表格。"
    risk_axes = ("回答的图片比例（覆盖率）", "回答中的错误率（风险）")
    risk_columns = ("置信度阈值", "回答比例", "其中的错误率")
    risk_caption = "曲线上的若干阈值"
    slider = "只在置信度不低于 {threshold} 时回答：回答 **{coverage}** 的图片，其中 **{risk}** 有误（{low}～{high}）。"
    promises_title = "有保证的错误率"
    promises_told = (
        "在 {level} 的置信水平下，阈值对同类新图片也能兑现承诺；该保证对有限样本严格成立，而不只是渐近成立。"
    )
    promise_columns = ("错误率上限", "阈值", "回答比例", "实测错误率")
    at_most = "不超过 {share}"
    not_possible = "无法做到"
    sets_title = "给出一组类别，而不是一个"
    sets_told = "预测集按承诺的比例包含真实类别。模型有把握时集合中只有一个类别，没有把握时会列出它在哪几类之间犹豫。"
    set_columns = ("方法", "承诺的覆盖率", "实际覆盖率", "集合平均大小", "单一类别的比例")
    class_by_class_sets = "{method}（逐类拟合）"
    set_classes = "各类别的实际覆盖率"
    unknown_title = "不属于任何类别的图片"
    unknown_missing = "本次运行未测量模型能否识别不属于任何类别的图片。"
    unknown_told = "与训练图片差异过大的图片会回答“未知”，判断依据是{chosen}得分。对自身类别图片的误报率：{alarms}。"
    unknown_caption = "区分自身类别与外来图片的能力（AUROC），以及外来图片的检出率"
    detector = "得分方法"
    detected_row = "在该阈值下的检出率"

    slices_told = (
        "共对比了 {tested} 个图片子集与其余图片。"
        "经 {correction} 法校正多重比较后，模型在其中 {worse} 个子集上的表现显著更差。"
    )
    slices_even = (
        "共对比了 {tested} 个图片子集与其余图片。经 {correction} 法校正多重比较后，没有发现表现显著更差的子集。"
    )
    slice_columns = ("图片子集", "n", "正确率", "其余图片", "差值", "校正后的 p 值")
    slice_worse = "**显著更差：**{what}"
    slice_wrong = "判错的图片：{ids}"
    all_slices = "全部 {n} 个子集"

    some_pictures = "{pictures}"
    by_hash = "按文件名的哈希值选取，与预测结果无关。数字是模型的置信度。"
    sure_and_wrong = "置信度最高的错误预测"
    look_first = "建议先看这里：有些可能是标签标错了，有些则显示出模型看不到什么。"
    examples_alt = "示例图片及模型的预测"
    mistakes_alt = "模型判断错误的图片"
    no_mistakes = "无：{part}的每张图片都预测正确。"
    all_mistakes = "{answers}的列表"
    mistake_columns = ("图片", "真实类别", "模型预测", "置信度")

    believe = "在各种方法中，本模型最可信的是 **{method}**，依据见下面的检验。"
    believe_none = "没有任何方法通过检验：这些热力图只能当作图片看，不能当作理由。"
    checks_caption = "热力图的检验。如果换成随机权重后热力图不变，它就什么也没有解释"
    check_columns = (
        ("方法", ""),
        ("与随机权重热力图的相似度", "0 最好"),
        ("删除曲线", "0 最好"),
        ("插入曲线", "1 最好"),
        ("耗时", "每张图片"),
    )
    explained_kinds: Mapping[str, str] = {"right": "预测正确", "wrong": "预测错误", "least certain": "最没有把握"}
    explained_right = "预测为 {predicted}，置信度 {confidence}，正确：{id}"
    explained_wrong = "预测为 {predicted}，置信度 {confidence}，实际是 {label}：{id}"
    the_picture = "原图"
    neighbour = "训练集中的 {name}（{similarity}）"
    more_maps = "另有 {n} 张在运行目录中。"

    stress_clean = "未损坏时的准确率：{clean}。"
    stress_told = (
        "用 ImageNet-C 的方式损坏 {pictures}，每种损坏分五个强度。未损坏时准确率为 {clean}；对所有损坏平均为 {mean}；"
        "平均损坏误差（mCE）为 {mce}。最怕的是**{weakest}**。"
    )
    corruption = "损坏类型"
    stress_caption = "各强度下的准确率（%）及 95% 置信区间"
    strength_title = "准确率随损坏强度的变化"
    strength_chart = "各组损坏的平均准确率随强度的变化，0 为未损坏。数值见表格。"
    strength_axes = ("强度", "准确率")
    shifts_title = "微小变化"
    shifts_told = "人不会因为这些变化而改变判断，模型会改变多少次？"
    shift = "{kind} {strength} {unit}"
    shift_columns = ("变化", "预测改变的比例", "准确率")
    attacks_title = "对抗攻击"
    attacks_told = "专门针对本模型计算出来的扰动，在这些半径下人眼难以察觉。"
    attack_columns = ("攻击方法", "范数", "半径", "步数", "攻击后的准确率")
    certified_title = "可证明的鲁棒性"
    certified_told = "采用随机平滑（sigma {sigma}）：在给定的 L2 半径之内，对图片的任何改动都不会改变这些预测。"
    certified_chart = "预测正确且可证明鲁棒的比例随半径的变化。"
    certified_axes = ("L2 半径", "正确且可证明")
    certified_columns = ("L2 半径", "正确且可证明")

    in_all = "总计 {seconds}"
    stage = "阶段"
    time = "用时"
    network = "网络"
    seen = "网络如何看图片"
    facts = "来源信息"
    every_setting = "实际使用的全部设置"
    settings = "设置"
    outside_provenance = "只给出了预测结果：本页背后没有训练过程、数据划分和图片。"
