"""Launches what a cluster file for AWS describes on a fake of AWS in this process, and prints what was asked and given.

Run by test_files.py in a network of its own. It calls what `ray up`, the autoscaler on the head and `ray down` call.
"""

import json
import os
import sys
from collections import defaultdict
from pathlib import Path

os.environ |= {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_EC2_METADATA_DISABLED": "true"}

import boto3
import botocore.client
import yaml
from moto import mock_aws
from ray.autoscaler import tags as ray_tags
from ray.autoscaler._private.commands import _bootstrap_config
from ray.autoscaler._private.providers import _get_node_provider

calls: dict[str, set[str]] = defaultdict(set)
speaker = "us"  # who makes the calls: the laptop, the head, or this script
call = botocore.client.BaseClient._make_api_call


def recorded(client, operation, arguments):
    calls[speaker].add(f"{client.meta.service_model.service_name}:{operation}")
    return call(client, operation, arguments)


def launch(config, kind, node_type):
    """The provider and the id of one new machine."""
    provider = _get_node_provider(config["provider"], config["cluster_name"], use_cache=False)
    tags = {ray_tags.TAG_RAY_NODE_KIND: kind, ray_tags.TAG_RAY_USER_NODE_TYPE: node_type}
    provider.create_node(dict(config["available_node_types"][node_type]["node_config"]), tags, 1)
    (node,) = provider.non_terminated_nodes(tags)
    provider.set_node_tags(node, {ray_tags.TAG_RAY_NODE_STATUS: "up-to-date"})
    assert provider.internal_ip(node)
    return provider, node


def described(region, node):
    ec2 = boto3.client("ec2", region_name=region)
    machine = ec2.describe_instances(InstanceIds=[node])["Reservations"][0]["Instances"][0]
    (device,) = machine["BlockDeviceMappings"]
    disk = ec2.describe_volumes(VolumeIds=[device["Ebs"]["VolumeId"]])["Volumes"][0]
    return {
        "type": machine["InstanceType"],
        "market": machine.get("InstanceLifecycle", "on demand"),
        "region": machine["Placement"]["AvailabilityZone"][:-1],
        "profile": machine["IamInstanceProfile"]["Arn"].rpartition("/")[2],
        "tokens": machine["MetadataOptions"]["HttpTokens"],
        "tags": {tag["Key"]: tag["Value"] for tag in machine["Tags"]},
        "disk": disk["Size"],
        "encrypted": disk["Encrypted"],
        "disk_tags": {tag["Key"]: tag["Value"] for tag in disk["Tags"]},
    }


def state(region, node):
    answer = boto3.client("ec2", region_name=region).describe_instances(InstanceIds=[node])
    return answer["Reservations"][0]["Instances"][0]["State"]["Name"]


@mock_aws
def main(path):
    global speaker
    config = yaml.safe_load(Path(path).read_text())
    region = config["provider"]["region"]
    iam = boto3.client("iam", region_name=region)
    for node_type in config["available_node_types"].values():
        iam.create_instance_profile(InstanceProfileName=node_type["node_config"]["IamInstanceProfile"]["Name"])
    botocore.client.BaseClient._make_api_call = recorded
    speaker = "laptop"
    config = _bootstrap_config(config, no_config_cache=True)
    laptop, head = launch(config, "head", "head")
    speaker = "head"
    autoscaler, worker = launch(config, "worker", "gpu_worker")
    speaker = "us"
    seen = {"head": described(region, head), "gpu_worker": described(region, worker)}
    speaker = "head"
    autoscaler.terminate_nodes([worker])
    speaker = "laptop"
    laptop.terminate_nodes([head])
    speaker = "us"
    seen["head"]["state_after_down"], seen["gpu_worker"]["state_after_down"] = (
        state(region, head),
        state(region, worker),
    )
    seen["resources"] = {name: kind["resources"] for name, kind in config["available_node_types"].items()}
    seen["calls"] = {who: sorted(names) for who, names in calls.items() if who != "us"}
    print(json.dumps(seen))


if __name__ == "__main__":
    main(sys.argv[1])
