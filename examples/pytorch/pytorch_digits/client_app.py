"""The ClientApp, which runs at a post office. Its optimizer continues in each round where it stopped in the last one."""

from collections import OrderedDict

import torch
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from pytorch_digits.task import Net, load_images, test, train_epoch

# One thread, so that sums have one order and every run gives the same network.
torch.set_num_threads(1)

app = ClientApp()


@app.train()
def train(message: Message, context: Context) -> Message:
    """Train the received network on the own images. The images and the state stay here."""
    images, _ = load_images(context)
    net = _received(message)
    optimizer = torch.optim.SGD(net.parameters(), lr=float(context.run_config["learning-rate"]), momentum=0.9)
    epochs = load_state(context, net, optimizer)
    for _ in range(int(context.run_config["local-epochs"])):
        loss = train_epoch(net, optimizer, images, seed=epochs)
        epochs += 1
    save_state(context, net, optimizer, epochs)

    metrics = MetricRecord({"num-examples": len(images[1]), "loss": loss, "epochs": epochs})
    return Message(RecordDict({"arrays": ArrayRecord(net.state_dict()), "metrics": metrics}), reply_to=message)


@app.evaluate()
def evaluate(message: Message, context: Context) -> Message:
    """Test the received network on the held-out images of this post office."""
    _, images = load_images(context)
    loss, accuracy = test(_received(message), images)
    metrics = MetricRecord({"num-examples": len(images[1]), "loss": loss, "accuracy": accuracy})
    return Message(RecordDict({"metrics": metrics}), reply_to=message)


def load_state(context: Context, net: Net, optimizer: torch.optim.SGD) -> int:
    """Give the optimizer its momentum of the last round, and return the number of epochs so far."""
    if "momentum" not in context.state:
        return 0
    momentum = context.state["momentum"].to_torch_state_dict()
    for name, parameter in net.named_parameters():
        optimizer.state[parameter]["momentum_buffer"] = momentum[name]
    return int(context.state["progress"]["epochs"])


def save_state(context: Context, net: Net, optimizer: torch.optim.SGD, epochs: int) -> None:
    """Keep the momentum and the number of epochs for the next round."""
    momentum = OrderedDict((name, optimizer.state[each]["momentum_buffer"]) for name, each in net.named_parameters())
    context.state["momentum"] = ArrayRecord(momentum)
    context.state["progress"] = MetricRecord({"epochs": epochs})


def _received(message: Message) -> Net:
    net = Net()
    net.load_state_dict(message.content["arrays"].to_torch_state_dict())
    return net
