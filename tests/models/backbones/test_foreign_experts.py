# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Experts by one string: equal to their library, trained only where ours."""

import json
import re
import shutil
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import huggingface_hub
import pytest
import tiny_models as tiny
import torch
from get_flops import count_macs
from mmaction.registry import MODELS
from mmengine.config import Config
from tiny_models import difference, randomize
from torch import nn

from ca2st_mm import get_model
from ca2st_mm.checkpoints import CheckpointError
from ca2st_mm.checkpoints.delta import fingerprint, without_frozen
from ca2st_mm.engine import MultiExpertOptimConstructor
from ca2st_mm.engine.preflight import check_files
from ca2st_mm.export import FORMATS, ExportableRecognizer, graph, trace
from ca2st_mm.models.backbones import expert_config
from ca2st_mm.utils.errors import UsageError
from ca2st_mm.zoo import ZooError

timm = pytest.importorskip('timm')
transformers = pytest.importorskip('transformers', minversion='5.23')

BATCH, DIMS, DEPTH, STEPS = 2, 24, 2, 3
TINY = dict(embed_dims=16, num_layers=2, num_heads=2, feedforward_channels=32)
SMALL = dict(embed_dim=DIMS, depth=DEPTH, num_heads=2, img_size=32)
# timm's name and the side of the frames.
TIMM = {
    'vit_tiny_patch16_224': 32,
    'vit_base_patch16_clip_quickgelu_224': 32,
    'vit_base_patch16_siglip_224': 32,
    'vit_small_patch14_reg4_dinov2': 28,
    'vit_base_patch16_rpn_224': 32,
    'eva02_tiny_patch14_224': 28,
    'vit_small_patch16_dinov3': 32,
    'vit_small_patch16_rope_mixed_224': 32,
    'eva02_enormous_patch14_clip_224': 28,
}
SIZE = dict(
    hidden_size=DIMS,
    num_hidden_layers=DEPTH,
    num_attention_heads=2,
    intermediate_size=48,
)
IMAGE = dict(SIZE, image_size=32, patch_size=16)
CLIP_LIKE = dict(IMAGE, num_frames=4)
SAMPLES = 200
SPEECH = dict(
    SIZE,
    conv_dim=(8, 8),
    conv_kernel=(10, 3),
    conv_stride=(5, 2),
    num_feat_extract_layers=2,
    num_conv_pos_embeddings=4,
    num_conv_pos_embedding_groups=2,
)
STABLE = dict(SPEECH, do_stable_layer_norm=True, feat_extract_norm='layer')
TOKENS = ('pad', 'bos', 'eos', 'decoder_start')
WHISPER = dict(
    {f'{name}_token_id': 0 for name in TOKENS},
    d_model=DIMS,
    encoder_layers=DEPTH,
    decoder_layers=1,
    encoder_attention_heads=2,
    encoder_ffn_dim=48,
    decoder_ffn_dim=48,
    decoder_attention_heads=2,
    num_mel_bins=8,
    max_source_positions=10,
    vocab_size=50,
)
# Those that read waveforms; large ones have their norms first.
WAVES = {
    'wav2vec2': ('Wav2Vec2Model', SPEECH),
    'wav2vec2-large': ('Wav2Vec2Model', STABLE),
    'hubert': ('HubertModel', SPEECH),
    'hubert-large': ('HubertModel', STABLE),
    'wavlm': ('WavLMModel', SPEECH),
    'wavlm-large': ('WavLMModel', STABLE),
    'data2vec-audio': ('Data2VecAudioModel', SPEECH),
}
# Class that writes the folder, and its config.
HF = {
    'clip_vision_model': ('CLIPVisionModel', IMAGE),
    'siglip_vision_model': ('SiglipVisionModel', IMAGE),
    'dinov2': ('Dinov2Model', IMAGE),
    'dinov2_with_registers': ('Dinov2WithRegistersModel', IMAGE),
    'dinov3_vit': ('DINOv3ViTModel', dict(IMAGE, num_register_tokens=4)),
    'vit': ('ViTForImageClassification', IMAGE),
    'vivit': (
        'VivitForVideoClassification',
        dict(SIZE, image_size=32, num_frames=4, tubelet_size=[2, 16, 16]),
    ),
    'videomae': ('VideoMAEForVideoClassification', CLIP_LIKE),
    'vjepa2': (
        'VJEPA2ForVideoClassification',
        dict(
            hidden_size=DIMS,
            num_hidden_layers=DEPTH,
            num_attention_heads=2,
            pred_hidden_size=24,
            pred_num_hidden_layers=1,
            pred_num_attention_heads=2,
            num_pooler_layers=1,
            crop_size=32,
            frames_per_clip=4,
        ),
    ),
    'audio-spectrogram-transformer': (
        'ASTForAudioClassification',
        dict(SIZE, max_length=64, num_mel_bins=36),
    ),
    'whisper': ('WhisperModel', WHISPER),
    **WAVES,
}
every_model = pytest.mark.parametrize('name', [*TIMM, *HF])


@pytest.fixture(scope='module')
def folder_of(tmp_path_factory):
    """Folder of a small random model as its library writes it, by name."""
    made = {}

    def write(name):
        if name not in made:
            made[name] = str(tmp_path_factory.mktemp('models') / name)
            if name in TIMM:
                model = timm.create_model(
                    name, **dict(SMALL, img_size=TIMM[name])
                )
                timm.models.save_for_hf(randomize(model, 0.1), made[name])
            else:
                kind, config = HF[name]
                config = transformers.AutoConfig.for_model(
                    name.removesuffix('-large'), **config
                )
                model = getattr(transformers, kind)(config)
                std = 0.2 if name in WAVES else 0.1
                randomize(model, std).save_pretrained(made[name])
        return made[name]

    return write


def build(cfg, **changes):
    expert = MODELS.build(dict(expert_config(cfg), **changes))
    expert.init_weights()
    return expert.eval()


def theirs(name, folder):
    """The library's own model, and its layers."""
    if name in TIMM:
        model = timm.create_model(
            f'local-dir:{folder}', pretrained=True, num_classes=0
        )
        return model.eval(), model.blocks
    model = getattr(transformers, HF[name][0]).from_pretrained(folder).eval()
    layers = [
        module
        for module in model.modules()
        if isinstance(module, nn.ModuleList)
        and 'Layer' in module[0]._get_name()
        and 'Conv' not in module[0]._get_name()
    ]
    return model, layers[0]


def inputs_of(expert, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(BATCH, *expert.input_shape, generator=generator)


def is_image(name):
    config = {} if name in TIMM else HF[name][1]
    of_others = {'num_frames', 'frames_per_clip', 'max_length', 'vocab_size'}
    return name not in WAVES and not of_others & set(config)


def frames_of(name):
    """How many frames, or samples, an expert is told to read."""
    if name in WAVES:
        return dict(num_frames=SAMPLES)
    return dict(num_frames=STEPS) if is_image(name) else {}


def as_theirs(name, inputs):
    """Our inputs as the library takes them."""
    if is_image(name):
        return inputs.transpose(1, 2).flatten(0, 1)
    if name == 'audio-spectrogram-transformer':
        return inputs.squeeze(1)
    if name == 'whisper':
        return inputs[:, 0].transpose(1, 2)
    if name in WAVES:
        return inputs[:, 0, :, 0]
    return inputs.transpose(1, 2)


def feature_of(output):
    """The library's own feature of a model without classifier, if any."""
    return getattr(output, 'pooler_output', None)


@every_model
@torch.no_grad()
def test_tokens_of_every_layer_equal_those_of_the_library(name, folder_of):
    expert = build(f'local-dir:{folder_of(name)}', **frames_of(name))
    model, layers = theirs(name, folder_of(name))
    model = model.encoder if name == 'whisper' else model
    found = []
    for layer in layers:
        layer.register_forward_hook(
            lambda *args: found.append(
                args[-1][0] if isinstance(args[-1], tuple) else args[-1]
            )
        )
    inputs = inputs_of(expert)
    output = model(as_theirs(name, inputs))
    tokens = expert.embed(inputs)
    context = expert.context(tokens)
    for layer in range(DEPTH):
        tokens = expert.forward_attn(tokens, layer, context=context)
        tokens = expert.forward_ffn(tokens, layer)
        assert found[layer].std() > 0.1
        assert difference(expert._gather(tokens), found[layer]) < 1e-5
    feature = expert(inputs)
    assert feature.shape == (BATCH, DIMS)
    if is_image(name):
        # Classifiers of the library hide theirs.
        expected = output if name in TIMM else feature_of(output)
        if expected is not None:
            expected = expected.unflatten(0, (BATCH, STEPS)).mean(1)
            assert difference(feature, expected) < 1e-5
    elif name == 'videomae':
        assert difference(model.classifier(feature), output.logits) < 1e-5
    elif name == 'whisper' or name in WAVES:
        assert tokens.shape == (BATCH, expert.token_spec.num_steps, 1, DIMS)
        assert difference(feature, output.last_hidden_state.mean(1)) < 1e-5


@pytest.mark.parametrize('name', ['wavlm', 'hubert-large', 'whisper'])
def test_speech_learns_beside_frames_and_its_steps_tile_the_window(
    name, folder_of
):
    audio = dict(
        expert_config(f'local-dir:{folder_of(name)}'), **frames_of(name)
    )
    experts = dict(spatial=tiny.CLIP, audio=audio)
    model = tiny.build(dict(tiny.CAVA, experts=experts)).train()
    expert = randomize(model).experts['audio']
    audio = torch.randn(tiny.BATCH, *expert.input_shape)
    features = model(**{**tiny.streams(), 'audios': audio})
    sum(feature.square().sum() for feature in features.values()).backward()
    for key, parameter in expert.named_parameters():
        learns = parameter.grad is not None and bool(parameter.grad.any())
        assert learns == key.startswith('adapters'), key
    spans = expert.token_times(torch.tensor([[1.0, 3.0]]))
    edges = torch.linspace(1, 3, expert.token_spec.num_steps + 1)
    assert spans.shape == (1, len(edges) - 1, 1, 2)
    expected = torch.stack((edges[:-1], edges[1:]), dim=-1)
    torch.testing.assert_close(spans[0, :, 0], expected)


@pytest.mark.parametrize(
    'name',
    [
        'vit_tiny_patch16_224',
        'vit_small_patch16_dinov3',
        'dinov3_vit',
        'clip_vision_model',
        'videomae',
        'vjepa2',
        'audio-spectrogram-transformer',
    ],
)
@torch.no_grad()
def test_attention_is_recorded_as_the_library_computes_it(name, folder_of):
    frames = frames_of(name)
    expert = build(f'local-dir:{folder_of(name)}', **frames)
    model, layers = theirs(name, folder_of(name))
    inputs, found = inputs_of(expert), []
    if name in TIMM:
        attention = layers[-1].attn
        attention.fused_attn = False
        attention.attn_drop.register_forward_hook(
            lambda *args: found.append(args[-1])
        )
    else:
        model.set_attn_implementation('eager')
        attention = getattr(layers[-1], 'self_attn', None)
        attention = attention or layers[-1].attention
        getattr(attention, 'attention', attention).register_forward_hook(
            lambda *args: found.append(args[-1][1])
        )
    model(as_theirs(name, inputs))
    source = dict(expert_config(f'local-dir:{folder_of(name)}'), **frames)
    backbone = dict(type='MultiExpertBackbone', experts=dict(a=source))
    model = MODELS.build(dict(backbone, inputs=dict(a='imgs'))).eval()
    model.init_weights()
    plain = model(inputs)['a']
    output = model(inputs, return_attention=[DEPTH - 1])
    axis, weights = output.attention['a', 'a', DEPTH - 1]
    assert axis == ('space' if is_image(name) else 'all')
    assert difference(weights.flatten(0, 1), found[-1].mean(1)) < 1e-5
    assert difference(output.features['a'], plain) < 1e-5


PAIRS = [
    ('vit_small_patch16_dinov3', 'videomae'),
    ('dinov3_vit', 'vjepa2'),
    ('vit_base_patch16_rpn_224', 'vivit'),
]


@pytest.fixture(scope='module')
def pair(folder_of):
    """A recognizer of two experts by string, weights loaded."""

    def make(spatial, temporal, temporal_options=None, **changes):
        experts = dict(
            spatial=f'local-dir:{folder_of(spatial)}',
            temporal=f'local-dir:{folder_of(temporal)}',
        )
        if temporal_options:
            experts['temporal'] = dict(
                expert_config(experts['temporal']), **temporal_options
            )
        backbone = dict(
            type='MultiExpertBackbone',
            experts=experts,
            inputs=dict(spatial='imgs', temporal='imgs'),
            links=[
                dict(
                    type='BottleneckCrossAttention',
                    between=('spatial', 'temporal'),
                    axes=('time', 'space'),
                    num_heads=2,
                )
            ],
            **changes,
        )
        dims = dict(spatial=DIMS, temporal=DIMS)
        head = dict(type='FusionHead', num_classes=5, in_channels=dims)
        frames = dict(type='ActionDataPreprocessor', format_shape='NCTHW')
        make.config = dict(
            type='MultiExpertRecognizer',
            backbone=backbone,
            cls_head=head,
            data_preprocessor=dict(
                type='MultiStreamDataPreprocessor',
                preprocessors=dict(imgs=frames),
            ),
        )
        model = MODELS.build(make.config)
        model.init_weights()
        return model

    return make


CLIPS = torch.randn(2, 3, 4, 32, 32, generator=torch.Generator())


def logits_of(model, clips=CLIPS):
    return model(dict(imgs=clips[:, None]), mode='tensor', stage='head')


@pytest.mark.parametrize('names', PAIRS)
@pytest.mark.parametrize('activations', ['store', 'recompute'])
def test_only_adapters_links_and_head_learn(names, activations, pair):
    model = pair(*names, activations=activations).train()
    before = {n: p.clone() for n, p in model.named_parameters()}
    for parameter in model.parameters():
        if parameter.requires_grad:  # the zeros of the start hide faults
            nn.init.normal_(parameter, std=0.1)
    # One frame per time step of the other expert.
    spatial = model.backbone.experts['spatial']
    assert (spatial.num_frames, spatial.frame_stride) == (2, 2)
    logits = logits_of(model)
    # Frozen models stay in eval mode: the second pass is the same.
    assert torch.equal(logits, logits_of(model))
    logits.square().sum().backward()
    for name, parameter in model.named_parameters():
        frozen = '.backbone.' in name.removeprefix('backbone.')
        assert parameter.requires_grad != frozen, name
        assert (parameter.grad is None) == frozen, name
        if frozen:
            assert torch.equal(parameter, before[name])


@torch.no_grad()
def test_eight_threads_get_the_answers_of_one(pair):
    backbone = randomize(pair(*PAIRS[0]).backbone, 0.3).eval()

    def features(clip, **options):
        output = backbone(clip, **options)
        return getattr(output, 'features', output)

    def recorded(clip):
        output = backbone(clip, return_attention=True)
        weights = [w for _, w in output.attention.values()]
        return dict(output.features, weights=torch.cat(weights[:1]))

    calls = [
        features,
        recorded,
        partial(features, return_tokens=True),
        partial(features, experts=['spatial']),
        lambda clip: dict(alone=backbone.experts['temporal'](clip)),
    ]
    clips = torch.randn(4, 1, 3, 4, 32, 32)
    tasks = [(call, clip) for clip in clips for call in calls] * 2
    expected = [call(clip) for call, clip in tasks]

    def run(task):
        with torch.no_grad():
            return task[0](task[1])

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(run, tasks))
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.keys() == theirs.keys()
        for key, value in ours.items():
            assert torch.equal(value, theirs[key]), key


def test_hooks_fire_and_lora_trains_inside(pair):
    peft = pytest.importorskip('peft')
    model = pair(*PAIRS[1]).eval()
    called = set()
    inner = {
        name: module
        for name, module in model.backbone.experts.named_modules()
        if isinstance(module, nn.Linear)
    }
    for name, module in inner.items():
        module.register_forward_hook(lambda *_, name=name: called.add(name))
    before = logits_of(model)
    assert called == set(inner)
    config = peft.LoraConfig(r=2, target_modules=['q_proj', 'query'])
    tuned = peft.get_peft_model(model, config)
    lora = {n: p for n, p in tuned.named_parameters() if 'lora_' in n}
    assert len(lora) == 2 * DEPTH * 2
    for parameter in lora.values():
        nn.init.normal_(parameter)
    randomize(model.cls_head)
    logits = logits_of(tuned.base_model.model)
    logits.square().sum().backward()
    assert all(p.grad.abs().sum() > 0 for p in lora.values())
    assert before.shape == logits.shape


@pytest.mark.parametrize('names', PAIRS[:2])
def test_the_state_dict_goes_around(names, pair):
    model, other, third = (pair(*names).eval() for _ in range(3))
    for parameter in model.parameters():
        if parameter.requires_grad:
            nn.init.normal_(parameter, std=0.1)
    assert difference(logits_of(model), logits_of(other)) > 1e-3
    other.load_state_dict(model.state_dict())
    assert torch.equal(logits_of(model), logits_of(other))
    # Without the frozen weights, which come back from the folders.
    prints = {
        f'backbone.experts.{name}': fingerprint(expert)
        for name, expert in model.backbone.experts.items()
    }
    delta = without_frozen(model, model.state_dict(), prints)
    assert not any('.backbone.' in k[9:] for k in delta)
    third.load_state_dict(delta)
    assert torch.equal(logits_of(model), logits_of(third))


@pytest.mark.parametrize('delta', [False, True])
def test_a_model_of_such_experts_is_shared(delta, pair, folder_of, tmp_path):
    model = pair(*PAIRS[0], dict(num_frames=4)).eval()
    config = Config(dict(model=pair.config))
    folder = model.save_pretrained(tmp_path / 'a', delta, config=config)
    card = (folder / 'README.md').read_text()
    assert '- spatial: `local-dir:' in card and 'terms of its owners' in card
    moved = {name: Path(folder_of(name)) for name in PAIRS[0]}
    if not delta:  # another machine has not the folders of the experts
        for name, path in moved.items():
            path.rename(tmp_path / name)
    again = get_model(folder)
    for name, path in moved.items():
        if not path.exists():
            (tmp_path / name).rename(path)
    assert torch.equal(logits_of(again), logits_of(model))
    # A run that begins with such weights looks for no file of this name.
    check_files(dict(model=dict(init_cfg=dict(checkpoint='timm:vit_tiny'))))


def test_classes_that_only_the_folder_names_are_known_elsewhere(
    folder_of, tmp_path
):
    """As in repositories that no save_for_hf has written."""
    shutil.copytree(folder_of([*TIMM][0]), tmp_path / 'a')
    file = tmp_path / 'a/config.json'
    config = json.loads(file.read_text())
    config['model_args'].pop('num_classes', None)
    file.write_text(json.dumps(dict(config, num_classes=3)))
    expert = MODELS.build(expert_config(f'local-dir:{tmp_path}/a'))
    assert expert.portable_config()['model_args']['num_classes'] == 3
    with pytest.raises(UsageError, match='empty path; name its folder'):
        build('local-dir:')


@pytest.mark.parametrize('kind', ['clip', 'siglip'])
def test_of_a_model_with_a_text_encoder_the_other_half_is_taken(
    kind, folder_of, tmp_path
):
    config = transformers.AutoConfig.for_model(
        kind, vision_config=IMAGE, text_config=dict(SIZE, vocab_size=9)
    )
    whole = transformers.AutoModel.from_config(config).eval()
    randomize(whole, 0.1).save_pretrained(tmp_path)
    expert = build(f'local-dir:{tmp_path}', num_frames=1)
    frames = inputs_of(expert)
    expected = whole.vision_model(frames[:, :, 0]).pooler_output
    assert difference(expert(frames), expected) < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize('form', ['torch_export', 'onnx'])
@pytest.mark.parametrize('names', PAIRS[1:2])
def test_the_exported_graph_says_the_same(names, form, pair, tmp_path):
    if form == 'onnx':
        pytest.importorskip('onnxruntime')
    model = randomize(pair(*names), 0.1).eval()
    [imgs] = graph.inputs_of(model)
    module = ExportableRecognizer(model, [imgs])
    about = dict(inputs=[dict(name='imgs')], outputs=[dict(name='logits')])
    path = tmp_path / f'model{FORMATS[form].suffix}'
    FORMATS[form].write(trace(module, [imgs]), path, about)
    run = FORMATS[form].read(path, 'cpu')
    for clips in (CLIPS[:1], torch.cat((CLIPS, CLIPS[:1]))):
        expected = logits_of(model, clips).detach()
        assert difference(run([clips])['logits'], expected) < 1e-4


def test_all_parts_are_counted(pair):
    model = pair(*PAIRS[1]).eval()
    macs = count_macs(model, dict(imgs=CLIPS[:1, None]))
    per_frame = 1 + 4 + 4  # class token, registers, patches
    tokens = 2 * per_frame
    weights = 4 * DIMS**2 + 2 * DIMS * 48
    attention = 2 * 2 * per_frame**2 * DIMS
    patches = 2 * 4 * 3 * 16**2 * DIMS
    expected = DEPTH * (tokens * weights + attention) + patches
    found = macs['expert spatial']
    # The last layer leaves out the patches, which no feature reads.
    assert 0.7 * expected < found <= expected


@pytest.mark.parametrize('name', ['vit_small_patch16_dinov3', 'vjepa2'])
def test_two_blocks_as_one_layer_and_a_late_start(name, folder_of):
    source = f'local-dir:{folder_of(name)}'
    frames = frames_of(name)
    whole = build(source, **frames)
    inputs = inputs_of(whole)
    for changes in (dict(blocks_per_layer=2), dict(start_block=1)):
        expert = build(source, **frames, **changes)
        assert expert.num_layers == 1
        assert difference(expert(inputs), whole(inputs)) < 1e-6
        layers = set(expert.layer_of_parameters().values())
        assert layers == ({0} if expert.blocks_per_layer == 2 else {-1, 0})
    # `expert` begins late: its first block learns like the embedding.
    constructor = MultiExpertOptimConstructor(
        dict(optimizer=dict(type='AdamW', lr=1.0)), dict(layer_decay=0.5)
    )
    rates = {
        id(parameter): group['lr']
        for group in constructor(expert).optimizer.param_groups
        for parameter in group['params']
    }
    blocks = [layer['ffn'].up.weight for layer in expert.adapters]
    assert [rates[id(weight)] for weight in blocks] == [0.25, 0.5]
    with pytest.raises(ValueError, match='2 blocks.*layers of 3'):
        build(source, blocks_per_layer=3)


def test_frames_are_resized_to_the_model_s_own(folder_of):
    source = f'local-dir:{folder_of("eva02_tiny_patch14_224")}'
    expert = build(source, num_frames=1, input_size=32)
    assert expert.input_shape == (3, 1, 32, 32)
    clip = inputs_of(expert)
    small = nn.functional.interpolate(clip[:, :, 0], (28, 28), mode='bilinear')
    assert torch.equal(expert(clip), build(source, num_frames=1)(small))


def test_random_weights_are_said(folder_of, monkeypatch):
    said = []
    monkeypatch.setattr(
        'ca2st_mm.models.backbones.foreign.print_log',
        lambda text, **_: said.append(text),
    )
    for name in ('vit_tiny_patch16_224', 'dinov2'):
        build(f'local-dir:{folder_of(name)}', pretrained=False)
        assert 'random' in said.pop() and not said


def test_a_name_of_timm_with_another_activation_is_said(monkeypatch):
    said = []
    monkeypatch.setattr(
        'ca2st_mm.models.backbones.timm_expert.print_log',
        lambda text, **_: said.append(text),
    )
    quick = 'timm:vit_base_patch16_clip_quickgelu_224.openai'
    for name in (quick, quick.replace('_quickgelu', '')):
        assert not said
        with torch.device('meta'):
            MODELS.build(expert_config(name))
    assert said.pop().endswith(f'take {quick}')


def test_half_precision_in_a_file_is_float32_here_and_said(
    folder_of, tmp_path, monkeypatch
):
    said = []
    monkeypatch.setattr(
        'ca2st_mm.models.backbones.foreign.print_log',
        lambda text, **_: said.append(text),
    )
    for name in ('vit_tiny_patch16_224', 'clip_vision_model'):
        folder = tmp_path / name
        if name in TIMM:
            model = timm.create_model(
                f'local-dir:{folder_of(name)}', pretrained=True
            )
            timm.models.save_for_hf(model.half(), str(folder))
        else:
            model = transformers.CLIPVisionModel.from_pretrained(
                folder_of(name)
            )
            model.half().save_pretrained(folder)
        expert = build(f'local-dir:{folder}', num_frames=1)
        assert {p.dtype for p in expert.parameters()} == {torch.float32}
        assert 'float16' in said.pop()
        assert torch.isfinite(expert(inputs_of(expert))).all()


def broken(folder, tmp_path, change):
    """A copy of a folder whose weights are changed."""
    from safetensors.torch import load_file, save_file

    copy = tmp_path / 'broken'
    shutil.copytree(folder, copy)
    for file in copy.glob('*.safetensors'):
        weights = load_file(file)
        change(weights)
        save_file(weights, file, metadata=dict(format='pt'))
    for file in copy.glob('*.bin'):
        weights = torch.load(file)
        change(weights)
        torch.save(weights, file)
    return f'local-dir:{copy}'


@pytest.mark.parametrize(
    'file, content, kind',
    [
        ('config.json', '{broken', ValueError),
        ('model.safetensors', '<html>', CheckpointError),
        ('model.safetensors', None, FileNotFoundError),
    ],
)
def test_a_folder_that_is_damaged_is_named(
    file, content, kind, folder_of, tmp_path
):
    folder = tmp_path / 'damaged'
    shutil.copytree(folder_of('dinov2'), folder)
    (folder / file).unlink()
    if content:
        (folder / file).write_text(content)
    with pytest.raises(kind, match='damaged') as error:
        build(f'local-dir:{folder}')
    assert len(str(error.value).splitlines()) == 1


def test_weights_without_a_network_are_named_at_once(monkeypatch):
    def asked(self, repo_id, **_):
        raise ConnectionError(f'no way to {repo_id}')

    monkeypatch.setattr(huggingface_hub.HfApi, 'repo_info', asked)
    expert = MODELS.build(expert_config('timm:vit_tiny_patch16_224'))
    with pytest.raises(ZooError, match='no connection') as error:
        expert.init_weights()
    repository = 'timm/vit_tiny_patch16_224.augreg_in21k_ft_in1k'
    said = f'run `hf download {repository}` where there is a network, and name'
    assert said in str(error.value) and "'local-dir:PATH'" in str(error.value)


@pytest.mark.parametrize('name', ['vit_tiny_patch16_224', 'dinov2', 'vjepa2'])
def test_a_missing_nan_or_further_tensor_is_refused(name, folder_of, tmp_path):
    def drop(weights):
        weights.pop(next(k for k in weights if k.endswith('.norm1.weight')))

    def spoil(weights):
        next(v for k, v in weights.items() if '.norm1.' in k).fill_(torch.nan)

    def add_layer(weights):
        # Heads have layers, too.
        ours = re.compile(r'(encoder.layer|blocks).*norm1.weight$')
        key = next(key for key in weights if ours.search(key))
        weights[re.sub(r'\.\d+\.', '.9.', key)] = weights[key].clone()

    with pytest.raises(ValueError, match='norm1.weight'):
        build(broken(folder_of(name), tmp_path, drop))
    shutil.rmtree(tmp_path / 'broken')
    with pytest.raises(ValueError, match='norm1.*NaN'):
        build(broken(folder_of(name), tmp_path, spoil))
    shutil.rmtree(tmp_path / 'broken')
    with pytest.raises(ValueError, match='9.norm1.weight'):
        build(broken(folder_of(name), tmp_path, add_layer))


def test_other_classes_and_other_sizes_of_a_file(folder_of):
    source = f'local-dir:{folder_of("vit_tiny_patch16_224")}'
    # The classifier is left out, positions are resized by timm.
    expert = build(source, num_frames=1, img_size=48)
    assert expert(inputs_of(expert)).shape == (BATCH, DIMS)
    assert expert.token_spec.num_patches == 9
    # transformers' CLIP resizes as well; of VideoMAE they are computed.
    for name in ('clip_vision_model', 'videomae', 'vit_tiny_patch16_224'):
        expert = build(f'local-dir:{folder_of(name)}', img_size=48)
        assert expert(inputs_of(expert)).shape == (BATCH, DIMS)
        assert expert.token_spec.num_patches == 9
        with pytest.raises(ValueError, match='2 x 2 patches of 16 px.* 40'):
            build(f'local-dir:{folder_of(name)}', img_size=40)


@pytest.mark.parametrize(
    'cfg, kind, message',
    [
        ('vit_base', UsageError, "'timm:NAME', 'hf:.*got 'vit_base'"),
        ('timm:', UsageError, "'timm:NAME'"),
        ('timm:vit_base_patch16_244', UsageError, 'vit_base_patch16_224'),
        ('timm:vit_tiny_patch16_224.x', UsageError, 'augreg_in21k'),
        ('timm:beit_base_patch16_224', UsageError, 'Beit.*docs/experts.md'),
        (
            'timm:resnet18',
            UsageError,
            'a ResNet, which .*VisionTr.*nearest known are [^t]',
        ),
        ('local-dir:nowhere', UsageError, 'nowhere'),
        (
            dict(type='HFExpert', config=dict(model_type='hiera')),
            UsageError,
            "'hiera'.*vit.*docs/experts.md",
        ),
        (
            dict(
                type='HFExpert', config=dict(model_type='vjepa2'), num_frames=5
            ),
            UsageError,
            r'2 steps.*leave out.*\(3, 5, 256, 256\)',
        ),
        ('hf:o/vjepa2@1a', ZooError, 'hf download o/vjepa2 --revision 1a'),
        ('hf:bad name', UsageError, 'names no repository; write hf:OWNER'),
        ('timm:hf-hub:o/n@1', ZooError, 'hf download o/n --rev.*local-dir'),
    ],
)
def test_what_is_not_known_is_said(cfg, kind, message, monkeypatch):
    monkeypatch.setenv('HF_HUB_OFFLINE', '1')
    with pytest.raises(kind, match=message) as error:
        with torch.device('meta'):
            MODELS.build(expert_config(cfg))
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize('name', ['dinov2', 'vit_tiny_patch16_224'])
def test_weights_may_come_from_another_place_than_the_config(
    name, folder_of, tmp_path
):
    folder = folder_of(name)
    expected = build(f'local-dir:{folder}')
    torch.save(expected.state_dict(), tmp_path / 'ours.pth')
    # A file of the library has its own names, and a classifier.
    [file] = {*Path(folder).glob('*.safetensors'), *Path(folder).glob('*.bin')}
    for source in (f'local-dir:{folder}', folder, file, tmp_path / 'ours.pth'):
        init_cfg = dict(type='Pretrained', checkpoint=str(source))
        expert = build(f'local-dir:{folder}', init_cfg=init_cfg)
        for key, value in expected.state_dict().items():
            found = expert.state_dict()[key]
            assert 'adapters' in key or torch.equal(found, value), key


def test_a_folder_of_the_other_library_is_said(folder_of):
    source = f'local-dir:{folder_of("dinov2")}'
    with pytest.raises(ValueError, match='of transformers; use HFExpert'):
        MODELS.build(dict(type='TimmExpert', model=source))
    source = f'local-dir:{folder_of("vit_tiny_patch16_224")}'
    with pytest.raises(ValueError, match='of timm; use TimmExpert'):
        MODELS.build(dict(type='HFExpert', model=source))


def test_different_grids_are_refused_with_the_axes_that_fit(pair):
    with pytest.raises(ValueError, match="4 and 9.*'space' and 'all' would"):
        pair('vit_small_patch16_dinov3', 'videomae', dict(img_size=48))


def test_an_expert_that_reads_other_clips_is_named_and_what_to_set(pair):
    # The spatial expert follows the temporal one, which is to blame.
    backbone = pair(*PAIRS[1]).backbone
    said = "'temporal'.* 4 frames, but these have 16; set clip_len=4"
    with pytest.raises(UsageError, match=said):
        backbone(torch.zeros(1, 3, 16, 32, 32))


def test_a_dict_takes_its_type_from_the_string(folder_of):
    source = f'local-dir:{folder_of("dinov2")}'
    cfg = expert_config(dict(model=source, num_frames=1))
    assert cfg == dict(type='HFExpert', model=source, num_frames=1)
    assert expert_config(folder_of('dinov2'))['model'] == source


def test_sizes_that_a_file_has_no_positions_for_are_said(folder_of):
    source = f'local-dir:{folder_of("vivit")}'
    for change in (dict(img_size=48), dict(num_frames=8)):
        with pytest.raises(
            CheckpointError, match='position.*leave out img_size, num_frames'
        ) as error:
            build(source, **change)
        assert 'ignore_mismatched_sizes' not in str(error.value)


def test_a_model_in_parts_is_read_whole_or_the_missing_part_named(
    folder_of, tmp_path
):
    model = transformers.Dinov2Model.from_pretrained(folder_of('dinov2'))
    model.save_pretrained(tmp_path, max_shard_size='20KB')
    parts = sorted(tmp_path.glob('model-*.safetensors'))
    assert len(parts) > 1
    expert, whole = (
        build(f'local-dir:{folder}', num_frames=1).state_dict()
        for folder in (tmp_path, folder_of('dinov2'))
    )
    for key, value in whole.items():
        assert 'adapters' in key or torch.equal(expert[key], value), key
    parts[1].unlink()
    with pytest.raises(CheckpointError, match=f'{parts[1].name}.* is missing'):
        build(f'local-dir:{tmp_path}')
