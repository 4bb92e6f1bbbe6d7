"""Numbers, nouns and names in simplified Chinese."""

from __future__ import annotations

from collections.abc import Mapping

from linnaeus.verbs.report.language.english_words import EnglishWords


class ChineseWords(EnglishWords):
    """Chinese has no plural and wants no space before a percent sign; full-width marks stand between words."""

    between = ""
    comma = "、"
    semicolon = "；"
    percent_sign = "%"
    to = "{low}～{high}"
    and_ = "{names} 和 {last}"
    in_brackets = "{value}（{interval}）"
    points_words = "{value} 个百分点（{low}～{high}）"
    seconds_sign = " 秒"

    nouns: Mapping[str, tuple[str, str]] = {
        "picture": ("{n} 张图片", "{n} 张图片"),
        "training picture": ("{n} 张训练图片", "{n} 张训练图片"),
        "test picture": ("{n} 张测试图片", "{n} 张测试图片"),
        "validation picture": ("{n} 张验证图片", "{n} 张验证图片"),
        "class": ("{n} 个类别", "{n} 个类别"),
        "file": ("{n} 个文件", "{n} 个文件"),
        "finding": ("{n} 项发现", "{n} 项发现"),
        "kind": ("{n} 类问题", "{n} 类问题"),
        "wrong answer": ("{n} 个错误预测", "{n} 个错误预测"),
        "candidate": ("{n} 个候选方案", "{n} 个候选方案"),
    }
    parts: Mapping[str, str] = {"train": "训练", "val": "验证", "test": "测试", "outside": "给定"}
    part_pictures: Mapping[str, str] = {
        "train": "training picture",
        "val": "validation picture",
        "test": "test picture",
        "outside": "picture",
    }
    on_part: Mapping[str, str] = {"train": "训练集", "val": "验证集", "test": "测试集", "outside": "给定的预测结果"}

    scores: Mapping[str, tuple[str, str]] = {
        "accuracy": ("准确率", "预测正确的图片所占比例"),
        "balanced_accuracy": ("均衡准确率", "各类召回率的平均值，每个类别权重相同"),
        "weighted_accuracy": ("加权准确率", "按类别图片数加权的同一平均值，按定义等于准确率"),
        "top5_accuracy": ("Top-5 准确率", "正确类别位列概率最高的五个之中的比例"),
        "macro_f1": ("宏平均 F1", "各类 F1 的平均值，每个类别权重相同"),
        "micro_f1": ("微平均 F1", "对全部预测合并计算的 F1，按定义等于准确率"),
        "weighted_f1": ("加权 F1", "各类 F1 按图片数加权的平均值"),
        "macro_precision": ("宏平均精确率", "各类精确率的平均值，每一类权重相同"),
        "weighted_precision": ("加权精确率", "各类精确率按类别大小加权的平均值"),
        "cohen_kappa": ("科恩 κ 系数", "扣除由类别大小造成的偶然一致后的一致程度；1 为完美"),
        "mcc": ("马修斯相关系数（MCC）", "1 为完美，0 为随机猜测；类别不均衡时依然公允"),
        "kappa": ("Cohen’s kappa", "超出偶然的一致程度；1 为完美，0 为偶然"),
        "log_loss": ("对数损失", "正确类别得到的概率越低，损失越大；0 最好"),
        "brier": ("Brier 分数", "概率的平方误差，范围 0 到 2；0 最好"),
        "ece": ("校准误差（ECE）", "置信度与准确率的平均差距；0 最好"),
        "ece_debiased": ("去偏校准误差", "扣除随机波动造成的部分之后的校准误差；0 最好"),
        "classwise_ece": ("逐类校准误差", "不只看最高概率，而是考察每个类别的概率；0 最好"),
        "auroc": ("AUROC", "该类图片的得分高于其他图片的概率；1 最好"),
        "average_precision": ("平均精确率（AP）", "精确率–召回率曲线下的面积；1 最好"),
        "macro_auroc": ("宏平均 AUROC", "各类 AUROC 的平均值；1 最好"),
        "macro_average_precision": ("宏平均 AP（mAP）", "各类平均精确率的平均值；1 最好"),
        "aurc": ("AURC", "风险–覆盖率曲线下的面积；0 最好"),
        "mce": ("mCE", "平均损坏误差；0 最好"),
    }
    kinds: Mapping[str, str] = {
        "missing": "缺失",
        "unreadable": "无法读取",
        "empty": "空文件",
        "not a picture": "不是图片",
        "truncated": "不完整",
        "too large": "过大",
        "odd mode": "色彩模式异常",
        "conflict": "标签冲突",
        "copies": "完全重复",
        "near copies": "近似重复",
        "leak": "数据泄漏",
        "wrong extension": "扩展名不符",
        "turned": "带旋转标记",
        "empty class": "空类别",
        "small class": "样本过少的类别",
        "single class": "只有一个类别",
        "no label": "没有标签",
        "other files": "其他文件",
        "hidden files": "隐藏文件",
        "circular link": "循环链接",
        "shadowed name": "名称被遮蔽",
        "no test": "没有测试集",
        "no validation": "没有验证集",
        "wrong label": "标签疑似有误",
        "same pixels": "像素相同",
        "near-duplicates": "近似重复",
        "near-duplicate conflict": "近似重复但标签冲突",
        "correction followed": "已按修正处理",
        "correction not applied": "修正未生效",
        "relabelled by review": "复核后改标",
        "no room": "限于页面大小未显示",
        "not in the split": "不在划分中",
    }
    names: Mapping[str, str] = {
        "noise": "噪声",
        "elastic": "弹性形变",
        "jpeg": "JPEG 压缩",
        "zoom": "缩放",
        "percent of the side": "%（占边长）",
        "factor": "倍",
        "grad-cam": "Grad-CAM",
        "grad-cam++": "Grad-CAM++",
        "layer-cam": "Layer-CAM",
        "integrated-gradients": "积分梯度",
        "lime": "LIME",
        "shap": "SHAP",
        "max logit": "最大 logit",
        "sharpness": "清晰度",
        "entropy": "信息熵",
        "colourfulness": "色彩丰富度",
        "uniform_area": "单色区域占比",
        "border_uniformity": "边框均匀度",
        "width": "宽度",
        "height": "高度",
        "megapixels": "百万像素",
        "aspect_ratio": "宽高比",
        "area": "占图片面积",
        "format": "格式",
        "folder": "文件夹",
        "group": "分组",
        "groups": "确定分组",
        "features": "计算特征",
        "labels": "检查标签",
        "blur": "模糊",
        "weather": "天气",
        "digital": "数字处理",
        "gaussian noise": "高斯噪声",
        "shot noise": "散粒噪声",
        "impulse noise": "脉冲噪声",
        "defocus blur": "失焦模糊",
        "glass blur": "毛玻璃模糊",
        "motion blur": "运动模糊",
        "zoom blur": "缩放模糊",
        "snow": "雪",
        "frost": "霜",
        "fog": "雾",
        "brightness": "亮度",
        "contrast": "对比度",
        "elastic transform": "弹性形变",
        "pixelate": "像素化",
        "jpeg compression": "JPEG 压缩",
        "rotation": "旋转",
        "shift": "平移",
        "translation": "平移",
        "rescaling": "缩放",
        "scale": "缩放",
        "jpeg quality": "JPEG 压缩，质量",
        "degrees": "度",
        "pixels": "像素",
        "quality": "质量",
        "patch": "补丁",
        "temperature": "温度缩放",
        "vector": "向量缩放",
        "isotonic": "保序回归",
        "none": "不校准",
        "occlusion": "遮挡法",
        "integrated gradients": "积分梯度",
        "energy": "能量",
        "max-logit": "最大 logit",
        "mahalanobis": "马氏距离",
        "nearest neighbours": "最近邻",
        "blank": "空白图片",
        "inverted": "反色图片",
        "digits": "手写数字",
        "open": "打开数据",
        "audit": "检查数据",
        "split": "划分数据",
        "plan": "制定方案",
        "head": "求解分类层",
        "frozen stages": "计算冻结层特征",
        "train": "训练",
        "evaluate": "评估",
        "report": "撰写报告",
        "all epochs done": "已完成全部轮次",
    }

    def range(self, low: float, high: float, digits: int = 1) -> str:
        """Write "90.0%～95.1%": both ends carry the sign, as the standard GB/T 15835 asks."""
        return self.to.format(low=self.percent(low, digits), high=self.percent(high, digits))

    def slice_name(self, trait: str, what: str) -> str:
        """Name a slice: the traits and the words between the values in Chinese, the values as they are."""
        return super().slice_name(trait, what).replace(" to ", "～").replace(", ", "，")
